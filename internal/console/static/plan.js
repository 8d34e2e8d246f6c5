// @ts-check
// A schedule's plan in words.

export const weekdays = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'];

/**
 * The days of a weekly schedule, 1 for Monday to 7 for Sunday, however they were written down; null if
 * that cannot be read.
 * @param {any} days @returns {number[] | null}
 */
export function daysOf(days) {
  if (days === null || typeof days !== 'object') return null;
  const found = Object.values(days).map((day) => {
    const text = String(day).trim().toLowerCase();
    if (/^[0-7]$/.test(text)) return Number(text) || 7;
    return text.length < 3 ? 0 : 1 + weekdays.findIndex((w) => w.toLowerCase() === text || w.slice(0, 3).toLowerCase() === text);
  });
  if (!found.length || found.includes(0)) return null;
  return [...new Set(found)].sort();
}

/** "Every day at 22:45", "Mondays and Thursdays at 04:15". @param {any} schedule */
export function planText(schedule) {
  const at = `at ${clock(schedule.time_of_day)}`;
  if (schedule.frequency === 'daily') return `Every day ${at}`;
  const days = daysOf(schedule.days_of_week)?.map((day) => `${weekdays[day - 1]}s`);
  if (!days) return `Weekly ${at}, on days that cannot be read`;
  if (days.length === 7) return `Every day ${at}`;
  const last = days.pop();
  return `${days.length ? `${days.join(', ')} and ` : ''}${last} ${at}`;
}

/** A time of day without seconds that are none. @param {string} time */
export function clock(time) { return String(time).replace(/:00$/, ''); }

/** How late a backup may come, in seconds. @param {any} schedule */
export function graceOf(schedule) { return schedule.grace_seconds ?? (schedule.frequency === 'weekly' ? 3600 : 1800); }
