/*
 * The interface between the host and kernels over virtual memory, as numbers: the device page
 * table's entries, the control block with the fault ring, the state of a stopped invocation, the
 * parameters of a dispatch. shaders/vm/abi.wgsl says the same in WGSL; a test compares both.
 *
 * Addresses are u32 byte addresses in a device context's space of 4 GiB.
 */

/** Bytes of the virtual space of a context. */
export const VM_SPACE_BYTES = 2 ** 32;
/** log2 of the smaller page. */
export const VM_PAGE_SHIFT = 12;
/** log2 of what one directory entry spans, which is the larger page. */
export const VM_BLOCK_SHIFT = 21;
/** Entries of the directory. */
export const VM_DIRECTORY_ENTRIES = 2048;
/** Entries of one table of the second level. */
export const VM_TABLE_ENTRIES = 512;
/** Words of a whole page table: directory, a table of zeros, a table for each block. */
export const VM_TABLE_WORDS = VM_DIRECTORY_ENTRIES + VM_TABLE_ENTRIES * (1 + VM_DIRECTORY_ENTRIES);
/** Where the table of zeros begins: what a directory entry without a table points at. */
export const VM_NO_TABLE = VM_DIRECTORY_ENTRIES;

/** An entry: permissions, then refusals, then the frame. */
export const PTE_READ = 1;
export const PTE_WRITE = 2;
export const PTE_ATOMIC = 4;
/** In the directory: the entry maps 2 MiB itself. */
export const PTE_BLOCK = 8;
/** Accesses of this kind end the invocation instead of faulting: what a cancelled fault leaves. */
export const PTE_KILL_READ = 16;
export const PTE_KILL_WRITE = 32;
export const PTE_KILL_ATOMIC = 64;
/** Never set: what a stopped invocation asks for, so that each of its accesses fails. */
export const PTE_NEVER = 128;
/** Where the frame number (or, in the directory, the table's first word) begins. */
export const PTE_FRAME_SHIFT = 8;
/** All permissions. */
export const PTE_ALL = PTE_READ | PTE_WRITE | PTE_ATOMIC;

/** Kinds of access, as fault records name them. The first three are bit numbers of an entry. */
export const ACCESS_READ = 0;
export const ACCESS_WRITE = 1;
export const ACCESS_ATOMIC = 2;
export const ACCESS_PREFETCH = 3;
export const ACCESS_PREFETCH_WRITE = 4;

/** Why an access failed. */
export const FAULT_ABSENT = 0;
export const FAULT_PERMISSION = 1;
/** Made up by a test: the page was there. */
export const FAULT_FORCED = 2;

/** A fault record: fields by word. */
export const FAULT_WORDS = 8;
export const FAULT_ADDRESS = 0;
export const FAULT_ACCESS = 1;
export const FAULT_TYPE = 2;
export const FAULT_CONTEXT = 3;
export const FAULT_WORKGROUP = 4;
export const FAULT_LANE = 5;
/** Number of the operation within its invocation, where operations are counted. */
export const FAULT_OPERATION = 6;

/** Control block: words of its header; the status of each slot, the ring, pending bits follow. */
export const CONTROL_FAULTS = 0;
export const CONTROL_STOPPED = 1;
export const CONTROL_LOG_FULL = 2;
export const CONTROL_ENDLESS = 3;
export const CONTROL_DIVERGED = 4;
export const CONTROL_KILLED = 5;
export const CONTROL_PROGRESS = 6;
/** Invocations that stopped, and had come by a checkpoint in the same pass. */
export const CONTROL_CHECKED = 7;
export const CONTROL_HEADER_WORDS = 8;
/** Frames whose uses are counted, and counters of each: reads, writes, atomics (`ACCESS_*`). */
export const CONTROL_USE_FRAMES = 64;
export const USE_KINDS = 3;
/** Two bits a page: a read, and a write or atomic access, is already in the ring. */
export const CONTROL_PENDING_WORDS = VM_SPACE_BYTES / 2 ** VM_PAGE_SHIFT / 16;

/** Bits of a slot's status: what its workgroup left behind in a pass. */
export const SLOT_STOPPED = 1;
export const SLOT_LOG_FULL = 2;
export const SLOT_ENDLESS = 4;
export const SLOT_KILLED = 8;
export const SLOT_DIVERGED = 16;

/**
 * State of a stopped invocation, by word: operations done * 2 + 1, or 0 for none; values logged;
 * hash of its addresses; why it stopped. The last is 0 for one that left with its workgroup, else
 * the address with the access plus 1 in its two lowest bits, or `WHY_*`.
 */
export const STATE_WORDS = 4;
export const STATE_DONE = 0;
export const STATE_LOGGED = 1;
export const STATE_HASH = 2;
export const STATE_WHY = 3;
export const WHY_ENDLESS = 4;
export const WHY_LOG_FULL = 8;

/** Parameters of a dispatch: words before the arguments, and arguments. */
export const PARAM_CONTEXT = 0;
export const PARAM_FIRST = 1;
export const PARAM_COUNT = 2;
export const PARAM_WIDTH = 3;
export const PARAM_LOG_WORDS = 4;
export const PARAM_BUDGET = 5;
export const PARAM_FORCE_AT = 6;
export const PARAM_FLAGS = 7;
export const PARAM_LANES = 8;
export const PARAM_SLOTS = 9;
export const PARAM_RING_RECORDS = 10;
export const PARAM_USES_FRAME = 11;
export const PARAM_HEADER_WORDS = 12;
export const PARAM_ARGUMENTS = 32;
export const PARAM_WORDS = PARAM_HEADER_WORDS + PARAM_ARGUMENTS;

/** `PARAM_FLAGS`: workgroups meet at barriers; pages are reported once; faults are made up; and
 * the first attempt counts its operations. */
export const FLAG_MEETS = 1;
export const FLAG_DEDUP = 2;
export const FLAG_FORCE = 4;
export const FLAG_COUNTS = 8;

/** `PARAM_USES_FRAME` when nothing is counted: no frame lies in the 64 from there on. */
export const USES_NOWHERE = 0x8000_0000;

/** Words of an invocation's checkpoint: whether there is one, its state, rounds of loops so far. */
export const CHECK_WORDS = 6;

/** `PARAM_FORCE_AT` when no fault is to be made up. */
export const FORCE_NEVER = 0xffffffff;
