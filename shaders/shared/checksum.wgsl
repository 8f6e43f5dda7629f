// The checksum of src/engine/checksum.ts: each word mixed with its position, then summed.

fn checksum_term(word: u32, position: u32) -> u32 {
  var mixed = word ^ ((position + 1u) * 0x9e3779b9u);
  mixed = (mixed ^ (mixed >> 16u)) * 0x85ebca6bu;
  mixed = (mixed ^ (mixed >> 13u)) * 0xc2b2ae35u;
  return mixed ^ (mixed >> 16u);
}

// The four words of a part; `position` is that of the first.
fn checksum_part(part: vec4u, position: u32) -> u32 {
  return checksum_term(part.x, position)
    + checksum_term(part.y, position + 1u)
    + checksum_term(part.z, position + 2u)
    + checksum_term(part.w, position + 3u);
}
