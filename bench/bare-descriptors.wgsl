// Copies pages by descriptors in the plainest way: a workgroup a page, 16 bytes an access. The
// reference for what submitting descriptors must cost; its speed is not what is measured.

// Page of `pages_in` and page of `pages_out`, one pair a workgroup.
@group(0) @binding(0) var<storage, read> descriptors: array<vec2u>;
@group(0) @binding(1) var<storage, read> pages_in: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> pages_out: array<vec4u>;

const LANES = 64u;
const QUADS_PER_PAGE = 256u;

@compute @workgroup_size(LANES)
fn copy_pages(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let pair = descriptors[group.x];
    for (var quad = lane; quad < QUADS_PER_PAGE; quad += LANES) {
        pages_out[pair.y * QUADS_PER_PAGE + quad] = pages_in[pair.x * QUADS_PER_PAGE + quad];
    }
}
