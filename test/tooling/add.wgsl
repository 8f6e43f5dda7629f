// A shader for node-gpu.test.ts: adds the second number to the first.
@group(0) @binding(0) var<storage, read_write> numbers: array<u32, 2>;

@compute @workgroup_size(1)
fn add() {
  numbers[0] = numbers[0] + numbers[1];
}
