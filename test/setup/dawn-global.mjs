/*
 * Runs once before the project `dawn`: names the adapter, so that a pass on a software adapter is
 * never taken for one on hardware.
 */
export function setup(project) {
  const { dawnName } = project.config.provide;
  if (dawnName) process.stderr.write(`dawn: ${dawnName}\n`);
}
