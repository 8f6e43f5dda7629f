/*
 * Applies the theme that the visitor chose before the first paint, so that nothing flashes. Runs as
 * a classic script in the head of each page; _shell/theme.ts does the rest.
 */
try {
  const chosen = localStorage.getItem('webhmm-theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is blocked: the theme follows the system.
}
