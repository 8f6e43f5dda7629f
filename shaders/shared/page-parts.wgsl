// How a kernel sees page memory on GPUs: units of 16 bytes, so that neighbouring lanes move
// neighbouring parts. A kernel imports `page`; the host takes this file or page-lines.wgsl for it.
#import checksum

alias Unit = vec4u;

const UNITS_PER_PAGE: u32 = 256u;
const WORDS_PER_UNIT: u32 = 4u;

fn unit_plus(unit: Unit, operand: vec4u) -> Unit {
  return unit + operand;
}

fn checksum_unit(unit: Unit, position: u32) -> u32 {
  return checksum_part(unit, position);
}
