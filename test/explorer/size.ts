/** Larger explorations take minutes: WEBHMM_EXPLORE=large. */
export const isLarge = process.env['WEBHMM_EXPLORE'] === 'large';
