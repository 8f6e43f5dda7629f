/*
 * Values of WebGPU's flag constants, which the specification fixes. Node has no globals for them,
 * and a module that reads `GPUBufferUsage` while it loads would depend on the order of imports.
 */
export const BUFFER_MAP_READ = 0x0001;
export const BUFFER_MAP_WRITE = 0x0002;
export const BUFFER_COPY_SRC = 0x0004;
export const BUFFER_COPY_DST = 0x0008;
export const BUFFER_STORAGE = 0x0080;
export const MAP_MODE_READ = 0x0001;
export const MAP_MODE_WRITE = 0x0002;
export const STAGE_COMPUTE = 0x4;
