// @ts-check
// Instants and durations for people. Everything here is pure but for live(), at the end.

const units = [
  ['year', 31557600], ['month', 2629800], ['week', 604800], ['day', 86400], ['hour', 3600], ['minute', 60],
];

/**
 * "3 minutes ago", "in 2 hours": how far an instant is from now.
 * @param {number} at milliseconds @param {number} now milliseconds
 */
export function relative(at, now) {
  const seconds = (now - at) / 1000;
  const size = Math.abs(seconds);
  if (size < 5) return 'just now';
  if (size < 60) return phrase(Math.round(size), 'second', seconds);
  for (const [unit, length] of /** @type {[string, number][]} */ (units)) {
    if (size >= length) return phrase(Math.floor(size / length), unit, seconds);
  }
  return '';
}

/** @param {number} n @param {string} unit @param {number} seconds */
function phrase(n, unit, seconds) {
  const text = `${n} ${unit}${n === 1 ? '' : 's'}`;
  return seconds >= 0 ? `${text} ago` : `in ${text}`;
}

/**
 * "1 h 04 min", "12.3 s": a duration, in the two units that matter.
 * @param {number | null | undefined} seconds
 */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return '–';
  const sign = seconds < 0 ? '−' : '';
  const size = Math.abs(seconds);
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  if (size < 1) return `${sign}${Math.round(size * 1000)} ms`;
  if (size < 10) return `${sign}${(Math.floor(size * 10) / 10).toFixed(1)} s`;
  const whole = Math.floor(size);
  if (whole < 60) return `${sign}${whole} s`;
  if (whole < 3600) return `${sign}${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${sign}${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${sign}${Math.floor(whole / 86400)} d ${two(Math.floor((whole % 86400) / 3600))} h`;
}

/** Seconds between two instants of the interface, null if one is missing. @param {string | null} from @param {string | null} to */
export function between(from, to) {
  if (!from || !to) return null;
  const seconds = (Date.parse(to) - Date.parse(from)) / 1000;
  return Number.isFinite(seconds) ? seconds : null;
}

/**
 * An instant written out: "24 Nov 2026, 07:15:04".
 * @param {Date} date @param {boolean} utc @param {boolean} [zone] whether to name the zone
 */
export function absolute(date, utc, zone = true) {
  if (Number.isNaN(date.getTime())) return 'unknown';
  const text = new Intl.DateTimeFormat('en-GB', {
    year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit',
    hourCycle: 'h23', timeZone: utc ? 'UTC' : undefined, timeZoneName: zone ? 'short' : undefined,
  }).format(date);
  return text;
}

/** The calendar day of an instant: "2026-11-24". @param {Date} date @param {string} [timeZone] */
export function dayOf(date, timeZone) {
  const parts = new Intl.DateTimeFormat('en-CA', { year: 'numeric', month: '2-digit', day: '2-digit', timeZone }).formatToParts(date);
  const part = (/** @type {string} */ type) => parts.find((p) => p.type === type)?.value ?? '';
  return `${part('year')}-${part('month')}-${part('day')}`;
}

/** What <input type="datetime-local"> shows for an instant. @param {string} iso @param {boolean} utc */
export function toInput(iso, utc) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return '';
  const shifted = utc ? date : new Date(date.getTime() - date.getTimezoneOffset() * 60000);
  return shifted.toISOString().slice(0, 16);
}

/** The instant that <input type="datetime-local"> means, "" for none. @param {string} value @param {boolean} utc */
export function fromInput(value, utc) {
  if (!value) return '';
  const date = new Date(utc ? `${value}Z` : value);
  return Number.isNaN(date.getTime()) ? '' : date.toISOString().replace(/\.000Z$/, 'Z');
}
