package server

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"
)

// The encoder of answers. Each function appends one JSON value to b and returns it; a page of
// rows is one buffer. Free data (jsonb) goes out as PostgreSQL prints it, numbers of any size
// included.

// appendKey appends the name of a member, behind a comma unless it is the first of its object.
// Names are constants of this package and need no escaping.
func appendKey(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

func appendInt(b []byte, name string, v int64) []byte {
	return strconv.AppendInt(appendKey(b, name), v, 10)
}

func appendOptionalInt(b []byte, name string, v *int64) []byte {
	if v == nil {
		return append(appendKey(b, name), "null"...)
	}
	return appendInt(b, name, *v)
}

func appendBool(b []byte, name string, v bool) []byte {
	return strconv.AppendBool(appendKey(b, name), v)
}

func appendText(b []byte, name, v string) []byte {
	return appendQuoted(appendKey(b, name), v)
}

func appendOptionalText(b []byte, name string, v *string) []byte {
	if v == nil {
		return append(appendKey(b, name), "null"...)
	}
	return appendText(b, name, *v)
}

// appendJSON appends what PostgreSQL printed for a jsonb.
func appendJSON(b []byte, name string, v []byte) []byte {
	b = appendKey(b, name)
	if v == nil {
		return append(b, "null"...)
	}
	return append(b, v...)
}

// appendTime appends an instant as RFC 3339 with Z, to the microsecond. An instant that RFC 3339
// cannot write, beyond the year 9999 or infinite, is null.
func appendTime(b []byte, name string, v pgtype.Timestamptz) []byte {
	b = appendKey(b, name)
	if !v.Valid || v.InfinityModifier != pgtype.Finite {
		return append(b, "null"...)
	}
	return appendInstant(b, v.Time.UnixMicro())
}

// appendInstant appends an instant in microseconds since 1970, as appendTime does. A page has
// hundreds of them, which time.Time.AppendFormat made a third of its encoding.
func appendInstant(b []byte, micros int64) []byte {
	const begin, end = -62_167_219_200_000_000, 253_402_300_800_000_000 // of the years 0 and 10000
	if micros < begin || micros >= end {
		return append(b, "null"...)
	}
	const second, day = 1_000_000, 86_400_000_000
	sinceYear0 := micros - begin // not negative, so that it divides downwards
	year, month, dayOfMonth := civil(int(sinceYear0 / day))
	clock, fraction := int(sinceYear0%day/second), int(sinceYear0%second)
	const form = `"0000-00-00T00:00:00.000000`
	at := len(b)
	b = append(b, form...)
	text := b[at:]
	putPair(text[1:], year/100)
	putPair(text[3:], year%100)
	putPair(text[6:], month)
	putPair(text[9:], dayOfMonth)
	putPair(text[12:], clock/3600)
	putPair(text[15:], clock/60%60)
	putPair(text[18:], clock%60)
	if fraction == 0 {
		return append(b[:at+len(`"0000-00-00T00:00:00`)], 'Z', '"')
	}
	putPair(text[21:], fraction/10_000)
	putPair(text[23:], fraction/100%100)
	putPair(text[25:], fraction%100)
	for b[len(b)-1] == '0' { // RFC3339Nano has no zeros at the end
		b = b[:len(b)-1]
	}
	return append(b, 'Z', '"')
}

// civil is the date of a day, counted from 1 January of the year 0 in the Gregorian calendar. Years
// are taken to begin in March, so that the day that some lack is their last: then 400 years have the
// same days, each of their centuries but the last is a day shorter than 25 times four years, and the
// months' lengths are those of a line.
func civil(day int) (year, month, dayOfMonth int) {
	const (
		toMarch      = 60 // days of January and February of the year 0, a leap year
		daysOf4      = 4*365 + 1
		daysOf100    = 25*daysOf4 - 1
		daysOf400    = 4*daysOf100 + 1
		fiveMonths   = 153 // days from March to July, and from August to December
		monthsOfYear = 12
	)
	day += daysOf400 - toMarch // also for the first days of the year 0
	era := day / daysOf400
	day %= daysOf400
	yearOfEra := (day - day/(daysOf4-1) + day/daysOf100 - day/(daysOf400-1)) / 365
	day -= 365*yearOfEra + yearOfEra/4 - yearOfEra/100
	month = (5*day + 2) / fiveMonths //nolint:mnd // from 0, which is March
	dayOfMonth = day - (fiveMonths*month+2)/5 + 1
	year = 400*(era-1) + yearOfEra
	if month += 3; month > monthsOfYear {
		month -= monthsOfYear
		year++
	}
	return year, month, dayOfMonth
}

// putPair writes a number below a hundred as two digits.
func putPair(b []byte, n int) {
	_ = b[1]
	b[0], b[1] = byte('0'+n/10), byte('0'+n%10) //nolint:gosec // below a hundred
}

// appendTimeOfDay appends a local time of day, in microseconds since midnight, as hh:mm:ss. The
// midnight at the end of a day is 24:00:00.
func appendTimeOfDay(b []byte, micros int64) []byte {
	b = append(b, '"')
	if micros == endOfDay {
		b = append(b, "24:00:00"...)
	} else {
		b = time.UnixMicro(micros).UTC().AppendFormat(b, time.TimeOnly)
	}
	return append(b, '"')
}

// endOfDay is the midnight at the end of a day, in microseconds since its beginning.
const endOfDay = int64(24 * time.Hour / time.Microsecond)

// appendQuotedBytes appends s as a JSON string. Nearly all that is stored as text needs no escape.
func appendQuotedBytes(b, s []byte) []byte {
	for _, c := range s {
		if c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return appendQuoted(b, string(s))
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends s as a JSON string (RFC 8259 section 7). What is not UTF-8 becomes U+FFFD.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	plain := 0 // where the part of s begins that needs no escape and is not yet appended
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, s[plain:i]...)
				b = append(b, "\uFFFD"...)
				plain = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[plain:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xF])
		}
		i++
		plain = i
	}
	b = append(b, s[plain:]...)
	return append(b, '"')
}

// separated puts a comma before each element but the first.
func separated(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}
