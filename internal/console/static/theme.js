// @ts-check
// Runs before the first paint, so that a chosen theme does not flash in.
(() => {
  let theme = null;
  try { theme = localStorage.getItem('runledger.theme'); } catch { /* storage may be off */ }
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
})();
