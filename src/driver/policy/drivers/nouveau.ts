/**
 * nouveau (nouveau_svm.c): a device fault maps the page where it is, in RAM; only the user moves
 * pages to the device. All faults of the ring are serviced, then replayed once. Nothing is evicted:
 * what does not fit stays in RAM.
 *
 * Leaves out: the sticky atomic flag of a batch, an oversight there.
 */
import type {
  Decisions,
  FaultGroup,
  FaultPolicy,
  PolicyView,
  ServiceTraits,
  VictimRequest,
  Victims,
} from '../policy.ts';

/** Records of nouveau's fault buffer that are serviced at once: all of them. */
const WHOLE_RING = 4096;

/** The policy of nouveau. */
export class NouveauPolicy implements FaultPolicy {
  readonly name = 'nouveau';
  readonly source = 'Linux: nouveau_svm.c, nouveau_dmem.c';
  readonly constants = { migratesOnFault: false, evicts: false };
  readonly service: Partial<ServiceTraits> = {
    batchLimit: WHOLE_RING,
    replay: 'once',
    costs: 'fault',
  };

  onFaults(faults: FaultGroup, _view: PolicyView, answer: Decisions): void {
    for (let i = 0; i < faults.count; i++) answer.remote(faults.pages[i]!);
  }

  chooseVictims(_request: VictimRequest, _view: PolicyView, _victims: Victims): void {}
}
