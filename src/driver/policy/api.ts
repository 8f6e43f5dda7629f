/**
 * What the facade offers of fault policies and of the model of device faults.
 */
export { answerPrefetchQuery, PREFETCHERS, QueryError } from './prefetch-query.ts';
export type { PrefetchAnswer, PrefetcherName } from './prefetch-query.ts';
export * from './policy.ts';
export { POLICIES, POLICY_HELP, policyByName } from './policies.ts';
export type { PolicyChoice, PolicyName } from './policies.ts';
export { EVICTIONS } from './eviction.ts';
export type { EvictionName } from './eviction.ts';
export { COST_MODEL, CostError, readCostModel } from './cost-model.ts';
export type { CostModel, CostStyle } from './cost-model.ts';
export { TraceError, TraceWriter, plainRegion, plainRegions } from './access-trace.ts';
export type { AccessTrace } from './access-trace.ts';
export { makeWorkload, WORKLOADS, WORKLOAD_HELP } from './workloads.ts';
export type { WorkloadName, WorkloadOptions } from './workloads.ts';
export { ModelRun, runModel, StuckError } from './model-run.ts';
export type { ModelOptions, ModelResult, ResidencyPoint } from './model-run.ts';
export { FaultLives, OUTCOMES, STAGES } from './fault-lives.ts';
export type { FaultLife, Outcome, Stage } from './fault-lives.ts';
export type { KeptBatches } from './batch-log.ts';
export type { FaultCounts, TimeSplit } from './fault-counts.ts';
export type { CancelStep, ReplayStep, ServiceStep } from './fault-service.ts';
export type { PlacementStep } from './placement-rows.ts';
export { MAX_TRACE_PAGES, readTrace, traceToCsv, traceToJson } from './access-trace-text.ts';
export { chromeTrace } from './chrome-trace.ts';
export type { ChromeTrace, KeptLives, TracedRun, TraceEvent } from './chrome-trace.ts';
export { userPolicy } from './user-policy.ts';
export { placeIn, policyErrorText } from './policy-error.ts';
export { EXPERIMENTS, runExperiment } from './experiments/menu.ts';
export type { ExperimentReport } from './experiments/menu.ts';
export { BREAKS } from './experiments/experiment.ts';
export type { BreakName, Curve, Experiment, Relation } from './experiments/experiment.ts';
