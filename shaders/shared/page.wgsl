// How a kernel sees page memory: 64-byte lines of four 16-byte parts.

struct Line {
  parts: array<vec4u, 4>,
}

const LINES_PER_PAGE: u32 = 64u;
const PARTS_PER_LINE: u32 = 4u;
const PARTS_PER_PAGE: u32 = 256u;
