/*
 * In how many ways one gets from the start to an end, given all steps between states.
 */
export class Ways {
  private from = new Int32Array(1 << 16);
  private to = new Int32Array(1 << 16);
  private count = 0;

  /** Notes a step. */
  add(from: number, to: number): void {
    if (this.count === this.from.length) {
      this.from = doubled(this.from);
      this.to = doubled(this.to);
    }
    this.from[this.count] = from;
    this.to[this.count++] = to;
  }

  /** Ways from state 0 to states that have no step. @param states How many there are. */
  countToEnds(states: number): number {
    const firstStep = new Int32Array(states + 1);
    const sources = new Int32Array(states);
    for (let i = 0; i < this.count; i++) {
      firstStep[this.from[i]! + 1]! += 1;
      sources[this.to[i]!]! += 1;
    }
    for (let i = 0; i < states; i++) firstStep[i + 1]! += firstStep[i]!;
    const steps = new Int32Array(this.count);
    const fill = firstStep.slice();
    for (let i = 0; i < this.count; i++) steps[fill[this.from[i]!]!++] = this.to[i]!;
    const ways = new Float64Array(states);
    ways[0] = 1;
    const ready = [0];
    let ends = 0;
    for (let state = ready.pop(); state !== undefined; state = ready.pop()) {
      if (firstStep[state] === firstStep[state + 1]) ends += ways[state]!;
      for (let i = firstStep[state]!; i < firstStep[state + 1]!; i++) {
        const next = steps[i]!;
        ways[next]! += ways[state]!;
        if (--sources[next]! === 0) ready.push(next);
      }
    }
    return ends;
  }
}

function doubled(values: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const more = new Int32Array(values.length * 2);
  more.set(values);
  return more;
}
