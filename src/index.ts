/**
 * WebHMM's facade, and the only path that examples, benchmarks and command line tools import.
 *
 * `Machine.create` starts a machine in a kernel worker of its own, `bootMachine` builds one in the
 * calling thread. Calls reject with one exception class per kind of failure: `OpenError` (no
 * machine), `ErrnoError` (a system call failed), `SignalError` (a memory access that Linux would
 * answer with a signal) and `MachineError` (the machine is gone).
 */
export { errno, errnoName } from './base/errno.ts';
export { PAGE_SIZE, PMD_SIZE } from './base/units.ts';
export { Prng } from './base/prng.ts';
export {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_HUGETLB,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_EXEC,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
  VM_DONTCOPY,
  VM_DONTDUMP,
  VM_DONTEXPAND,
  VM_EXEC,
  VM_HUGEPAGE,
  VM_HUGETLB,
  VM_IO,
  VM_MAYBE_GUARD,
  VM_MIXEDMAP,
  VM_NOHUGEPAGE,
  VM_PFNMAP,
  VM_RAND_READ,
  VM_READ,
  VM_SEQ_READ,
  VM_SHARED,
  VM_SOFTDIRTY,
  VM_UFFD_MISSING,
  VM_UFFD_WP,
  VM_WIPEONFORK,
  VM_WRITE,
} from './mm/mm-types.ts';
export { HMM_DMIRROR_FLAG_FAIL_ALLOC } from './driver/dmirror.ts';
export {
  HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL,
  HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE,
  HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL,
  HMM_DMIRROR_PROT_DEV_PRIVATE_REMOTE,
  HMM_DMIRROR_PROT_ERROR,
  HMM_DMIRROR_PROT_NONE,
  HMM_DMIRROR_PROT_PMD,
  HMM_DMIRROR_PROT_READ,
  HMM_DMIRROR_PROT_WRITE,
  HMM_DMIRROR_PROT_ZERO,
} from './driver/dmirror-snapshot.ts';
export {
  PAGE_DEVICE,
  PAGE_EXCLUSIVE,
  PAGE_SWAP,
  PAGE_MIGRATING,
  PAGE_NONE,
  PAGE_RAM,
  PAGE_ZERO,
} from './worker/protocol.ts';
export type {
  Counters,
  DeviceCounters,
  DmirrorCommand,
  DmirrorRequest,
  DmirrorResult,
  MachineOptions,
  MachineReport,
  MmapRequest,
} from './worker/protocol.ts';
export type {
  AdapterReport,
  CopyEngine,
  EngineStats,
  FrameGeometry,
  StrategyName,
} from './engine/copy-engine.ts';
export { CommandList } from './engine/command-list.ts';
export { ErrnoError, MachineError, OpenError, SignalError } from './worker/errors.ts';
export type { MachineEnd } from './worker/errors.ts';
export { Machine } from './worker/machine.ts';
export { Process } from './worker/process.ts';
export { TestDevice } from './worker/test-device.ts';
export { DeviceKernel, KernelCompileError, RunningLaunch } from './worker/device-kernel.ts';
export type { LaunchOptions, LaunchProgress } from './worker/device-kernel.ts';
export { LAUNCH_FAILURES } from './worker/protocol-launch.ts';
export type {
  InjectedFailure,
  KernelLaunchRequest,
  KernelProblem,
  KernelReport,
  KernelSource,
  LaunchFailure,
  LaunchServiceOptions,
  RangeHint,
  RefusedAccess,
} from './worker/protocol-launch.ts';
export type { FaultKind, FaultLatency, FaultLatencySummary } from './cpu/fault-latency.ts';
export { TraceSubscription } from './worker/trace.ts';
export type {
  DeviceFaultEvent,
  DevicePassEvent,
  FaultEvent,
  InvalidateEvent,
  MigrateBeginEvent,
  MigrateEndEvent,
  TlbShootdownEvent,
  MachineEvent,
  MachineEventType,
  TraceListener,
  TraceOptions,
} from './worker/trace.ts';
export { checksumTerm } from './engine/checksum.ts';
export type { HostCopiers } from './engine/host-copiers.ts';
export { LiveCounters } from './worker/live-counters.ts';
export type { VmEvent } from './mm/vmstat.ts';
export type { CreateOptions, WorkerFiles } from './worker/create-options.ts';
export { Userfaultfd } from './worker/userfaultfd.ts';
export type { UffdModes } from './worker/userfaultfd.ts';
export type { UffdMsg, UffdOp, UffdRequest } from './worker/protocol-uffd.ts';
export {
  UFFD_EVENT_PAGEFAULT,
  UFFD_FEATURE_EXACT_ADDRESS,
  UFFD_FEATURE_MISSING_SHMEM,
  UFFD_FEATURE_PAGEFAULT_FLAG_WP,
  UFFD_FEATURE_POISON,
  UFFD_FEATURE_SIGBUS,
  UFFD_FEATURE_WP_ASYNC,
  UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
  UFFD_FEATURE_WP_UNPOPULATED,
  UFFD_PAGEFAULT_FLAG_WP,
  UFFD_PAGEFAULT_FLAG_WRITE,
} from './mm/fs-userfaultfd.ts';
export {
  UFFDIO_COPY_MODE_DONTWAKE,
  UFFDIO_COPY_BIT,
  UFFDIO_COPY_MODE_WP,
  UFFDIO_POISON_BIT,
  UFFDIO_POISON_MODE_DONTWAKE,
  UFFDIO_REGISTER_MODE_MISSING,
  UFFDIO_REGISTER_MODE_WP,
  UFFDIO_WAKE_BIT,
  UFFDIO_WRITEPROTECT_BIT,
  UFFDIO_WRITEPROTECT_MODE_DONTWAKE,
  UFFDIO_WRITEPROTECT_MODE_WP,
  UFFDIO_ZEROPAGE_BIT,
  UFFDIO_ZEROPAGE_MODE_DONTWAKE,
} from './mm/userfaultfd-register.ts';
export type { LocalMachine, Shmem } from './worker/machine.ts';
export { UserPages } from './worker/user-pages.ts';
export type { ProcessVmRange } from './worker/protocol-gup.ts';
export {
  FOLL_FAST_ONLY,
  FOLL_LONGTERM,
  FOLL_NOFAULT,
  FOLL_SPLIT_PMD,
  FOLL_WRITE,
} from './mm/gup-refs.ts';
export { TmpFile } from './worker/tmp-file.ts';
export type { FileStat } from './worker/protocol-files.ts';
export {
  MADV_COLD,
  MADV_COLLAPSE,
  MADV_DODUMP,
  MADV_DOFORK,
  MADV_DONTDUMP,
  MADV_DONTFORK,
  MADV_DONTNEED,
  MADV_DONTNEED_LOCKED,
  MADV_FREE,
  MADV_GUARD_INSTALL,
  MADV_GUARD_REMOVE,
  MADV_HUGEPAGE,
  MADV_KEEPONFORK,
  MADV_NOHUGEPAGE,
  MADV_NORMAL,
  MADV_PAGEOUT,
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MADV_RANDOM,
  MADV_SEQUENTIAL,
  MADV_WILLNEED,
  MADV_WIPEONFORK,
} from './mm/madvise.ts';
export {
  CLEAR_REFS_ALL,
  CLEAR_REFS_ANON,
  CLEAR_REFS_MAPPED,
  CLEAR_REFS_SOFT_DIRTY,
} from './mm/clear-refs.ts';
export {
  PM_FILE,
  PM_GUARD_REGION,
  PM_MMAP_EXCLUSIVE,
  PM_PRESENT,
  PM_SOFT_DIRTY,
  PM_SWAP,
  PM_UFFD_WP,
} from './mm/task-mmu.ts';
export type { SmapsTotals } from './mm/task-mmu.ts';
export { MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE } from './mm/mremap.ts';
export { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from './mm/truncate.ts';
export { bootMachine } from './worker/open.ts';
export type { ProgramEvents, RunningProgram } from './worker/running-program.ts';
export type { ExitStatus, ProgramCpu } from './cpu/program.ts';
export { CoreEnded, CpuSignal, SyscallError } from './cpu/signals.ts';
export * from './driver/policy/api.ts';
export { launchTrace } from './driver/policy-pager.ts';
export { recordTrace } from './driver/record-trace.ts';
export type { Recorded, RecordRequest } from './driver/record-trace.ts';
export { traceOfLogs } from './driver/trace-of-logs.ts';
export { recordingKernel } from './gpu/vm/recording-kernel.ts';
export type { RecordingLogs } from './gpu/vm/recording-kernel.ts';
export type { ServiceReport } from './driver/policy-pager.ts';
// Kernels over virtual memory (docs/device-faults-mechanism.md).
export * as vmAbi from './engine/vm/abi.ts';
export { BackingPager } from './engine/vm/backing-pager.ts';
export { CpuVmEngine } from './engine/vm/cpu-vm.ts';
export { DeviceSpace } from './engine/vm/device-space.ts';
export { launchKernel } from './engine/vm/launch.ts';
export type {
  FaultBatch,
  LaunchCounts,
  LaunchOutcome,
  LaunchReport,
  LaunchRequest,
  Pager,
} from './engine/vm/launch.ts';
export { printRawKernel, printVmKernel } from './engine/vm/print-wgsl.ts';
export { SHAPE_NAMES, shapeCase } from './engine/vm/shapes.ts';
export type { VmCase } from './engine/vm/shapes.ts';
export type {
  VmEngine,
  VmKernel,
  VmProgram,
  VmProgramOptions,
  VmRefusal,
  VmRun,
} from './engine/vm/vm-engine.ts';
export { GpuVmEngine } from './gpu/vm/gpu-vm.ts';
