// @ts-check
// What became of a schedule's slots, day by day. A day is one of the schedule's zone: the backup of
// Tuesday night is Tuesday's, wherever one looks from.
import { dayOf } from './time.js';
import { word } from './words.js';

/** The verdicts, the one first that a day with several is known by. */
export const verdicts = ['missed', 'failed', 'skipped', 'late', 'duplicate', 'running', 'on_time', 'manual', 'upcoming', 'paused'];

/** What has to be looked at: there is no backup where there should be one. */
const without = ['missed', 'failed', 'skipped'];

/** Whether a slot has no backup although its time is over. @param {any} slot */
export function lacks(slot) { return without.includes(slot.verdict); }

/** Whether a slot has its backup. @param {any} slot */
export function has(slot) { return ['on_time', 'late', 'duplicate'].includes(slot.verdict); }

/** A zone that the browser knows, UTC where it does not. @param {string | null} zone */
export function knownZone(zone) {
  try {
    new Intl.DateTimeFormat('en-GB', { timeZone: zone ?? '' });
    return zone ?? 'UTC';
  } catch { return 'UTC'; }
}

/** When a slot was due, or when its run came that was due at none. @param {any} slot @returns {string} */
export function instant(slot) { return slot.slot_at ?? slot.runs[0]?.created_at ?? ''; }

/** The day of a slot, such as "2026-11-24". @param {any} slot @param {string} zone */
export function slotDay(slot, zone) {
  if (slot.slot_at && slot.local_time) return slot.local_time.slice(0, 10);
  return dayOf(new Date(instant(slot)), zone);
}

/** Slots by their days. @param {any[]} slots @param {string} zone @returns {Map<string, any[]>} */
export function byDay(slots, zone) {
  /** @type {Map<string, any[]>} */
  const days = new Map();
  for (const slot of slots) {
    const day = slotDay(slot, zone);
    const others = days.get(day);
    if (others) others.push(slot); else days.set(day, [slot]);
  }
  return days;
}

/** The verdict that a day is known by, null if nothing was due and nothing came. @param {any[] | undefined} slots */
export function verdictOf(slots) {
  return verdicts.find((verdict) => slots?.some((slot) => slot.verdict === verdict)) ?? null;
}

/** Whether a text is a day that there is: not the 31st of June. @param {string} text */
export function isDay(text) {
  const at = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : NaN;
  return !Number.isNaN(at) && new Date(at).toISOString().startsWith(text);
}

/** A day so many days later. @param {string} day @param {number} n */
export function dayAfter(day, n = 1) {
  return new Date(Date.parse(`${day}T00:00:00Z`) + n * 86_400_000).toISOString().slice(0, 10);
}

/** The same day of another month, or that month's last. @param {string} day @param {number} n */
export function monthAfter(day, n) {
  const [year, month, date] = day.split('-').map(Number);
  const last = new Date(Date.UTC(year, month + n, 0)).getUTCDate();
  return new Date(Date.UTC(year, month - 1 + n, Math.min(date, last))).toISOString().slice(0, 10);
}

const written = {
  short: new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' }),
  weekday: new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: 'numeric', month: 'short', timeZone: 'UTC' }),
  year: new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric', timeZone: 'UTC' }),
  long: new Intl.DateTimeFormat('en-GB', { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' }),
  month: new Intl.DateTimeFormat('en-GB', { month: 'short', year: 'numeric', timeZone: 'UTC' }),
};

/** A day for people. @param {string} day @param {keyof typeof written} form */
export function sayDay(day, form) { return written[form].format(new Date(`${day}T00:00:00Z`)); }

/** What became of a day, in words. @param {any[] | undefined} slots */
export function sayVerdicts(slots) {
  if (!slots?.length) return 'nothing was due';
  if (slots.length === 1) return word(slots[0].verdict).toLowerCase();
  const counts = new Map();
  for (const { verdict } of slots) counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  return [...counts].map(([verdict, n]) => (n > 1 ? `${n} ${word(verdict).toLowerCase()}` : word(verdict).toLowerCase())).join(', ');
}
