// How a kernel sees page memory on software adapters: units of 64 bytes, so that one index check
// covers four loads. They are members and not an array, which Chromium copies far more slowly.
// A kernel imports `page`; the host takes this file or page-parts.wgsl for it.
#import checksum

struct Unit {
  a: vec4u,
  b: vec4u,
  c: vec4u,
  d: vec4u,
}

const UNITS_PER_PAGE: u32 = 64u;
const WORDS_PER_UNIT: u32 = 16u;

fn unit_plus(unit: Unit, operand: vec4u) -> Unit {
  return Unit(unit.a + operand, unit.b + operand, unit.c + operand, unit.d + operand);
}

fn checksum_unit(unit: Unit, position: u32) -> u32 {
  return checksum_part(unit.a, position)
    + checksum_part(unit.b, position + 4u)
    + checksum_part(unit.c, position + 8u)
    + checksum_part(unit.d, position + 12u);
}
