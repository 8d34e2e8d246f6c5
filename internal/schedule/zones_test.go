package schedule_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/schedule"
)

// The plans that both sides know: each time of day, every day, each day alone, and two sets of days.
// testdata/slots.py has them in the same order.
var (
	times = []time.Duration{
		0, 30 * time.Minute, 2*time.Hour - time.Second, 2 * time.Hour, 2*time.Hour + 30*time.Minute, 12 * time.Hour, 24*time.Hour - time.Second,
	}
	daySets = []string{
		"[1,2,3,4,5,6,7]", "[1]", "[2]", "[3]", "[4]", "[5]", "[6]", "[7]", "[1,3,5]", "[6,7]",
	}
)

// digest is a SHA-256 of the slots of every plan on the local days from first to end, the latter
// excluded.
func digest(t *testing.T, zone *time.Location, first, end time.Time) string {
	t.Helper()
	sums := sha256.New()
	for _, at := range times {
		for _, set := range daySets {
			days, err := schedule.ParseDays([]byte(set))
			if err != nil {
				t.Fatal(err)
			}
			plan := schedule.Plan{Days: days, TimeOfDay: at, Zone: zone}
			var line []string
			for _, slot := range plan.Slots(start(zone, first), start(zone, end)) {
				line = append(line, fmt.Sprint(slot.Unix()))
			}
			_, _ = fmt.Fprintln(sums, strings.Join(line, " "))
		}
	}
	return hex.EncodeToString(sums.Sum(nil))
}

// start is the first instant of a local day.
func start(zone *time.Location, day time.Time) time.Time {
	midnights := schedule.Plan{Days: schedule.EveryDay, Zone: zone}.Slots(day.Add(-36*time.Hour), day.Add(36*time.Hour))
	return midnights[slices.IndexFunc(midnights, func(at time.Time) bool {
		return at.In(zone).Format(time.DateOnly) >= day.Format(time.DateOnly)
	})]
}

// TestSlotsAreThoseOfAnotherImplementation compares with Python's zoneinfo, reading the very files
// that it reads.
func TestSlotsAreThoseOfAnotherImplementation(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 to compare with; TestSlotsAreWhatTheyWere compares with what it said")
	}
	for name, c := range map[string]struct {
		first, end string
		zones      []string
		atLeast    int
	}{
		"all zones for three years": {"2024-01-01", "2027-01-01", nil, 400},
		"the odd ones for decades": {"1965-01-01", "2030-01-01", []string{
			"Pacific/Apia", "Pacific/Kwajalein", "Pacific/Kiritimati", "Pacific/Fakaofo", "Australia/Lord_Howe",
			"Africa/Monrovia", "Africa/Casablanca", "America/St_Johns", "Asia/Kathmandu", "Europe/Dublin", "Asia/Gaza", "Antarctica/Troll",
		}, 12},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := exec.CommandContext(t.Context(), python, append([]string{"testdata/slots.py", c.first, c.end}, c.zones...)...).Output()
			if err != nil {
				t.Skipf("python3 cannot tell (it takes Python 3.9 and a zone database): %v", err)
			}
			first, end := parseDay(t, c.first), parseDay(t, c.end)
			lines := bufio.NewScanner(bytes.NewReader(out))
			lines.Scan()
			database := lines.Text()
			compared := 0
			for lines.Scan() {
				zoneName, want, _ := strings.Cut(lines.Text(), " ")
				file, err := os.ReadFile(filepath.Join(database, zoneName))
				if err != nil {
					t.Skipf("python3 reads its zones from elsewhere: %v", err)
				}
				zone, err := time.LoadLocationFromTZData(zoneName, file)
				if err != nil {
					t.Fatal(err)
				}
				compared++
				if got := digest(t, zone, first, end); got != want {
					t.Errorf("%s: other slots than python3's", zoneName)
				}
			}
			if compared < c.atLeast {
				t.Errorf("compared %d zones only", compared)
			}
			t.Logf("%d zones, %d plans each", compared, len(times)*len(daySets))
		})
	}
}

// TestSlotsAreWhatTheyWere compares with what Python's zoneinfo said for years that are over, whose
// rules no release of the zone database is likely to change.
func TestSlotsAreWhatTheyWere(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile("testdata/slots-2019-2021.txt")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for line := range strings.Lines(string(golden)) {
		zoneName, want, _ := strings.Cut(strings.TrimSpace(line), " ")
		zone, err := schedule.LoadZone(zoneName)
		if err != nil {
			t.Errorf("%s: %v", zoneName, err)
			continue
		}
		compared++
		if got := digest(t, zone, parseDay(t, "2019-01-01"), parseDay(t, "2022-01-01")); !strings.HasPrefix(got, want) {
			t.Errorf("%s: other slots than before", zoneName)
		}
	}
	if compared < 400 {
		t.Errorf("compared %d zones only", compared)
	}
}

// TestTheLastDaysOfALeapYearAreDays looks beyond the changes that the files of the zones list, where
// the rule in their last line counts.
func TestTheLastDaysOfALeapYearAreDays(t *testing.T) {
	t.Parallel()
	for _, zoneName := range []string{
		"UTC", "Europe/Berlin", "Europe/Dublin", "America/Juneau", "America/Havana", "Australia/Lord_Howe",
		"Africa/Cairo", "America/Sao_Paulo", "Asia/Kathmandu", "Antarctica/Troll", "Pacific/Auckland",
	} {
		zone, err := schedule.LoadZone(zoneName)
		if err != nil {
			t.Fatal(err)
		}
		plan := schedule.Plan{Days: schedule.EveryDay, TimeOfDay: 12 * time.Hour, Zone: zone}
		for year := 2020; year <= 2104; year += 4 {
			first := time.Date(year, time.December, 1, 0, 0, 0, 0, zone)
			slots := plan.Slots(first, first.AddDate(0, 0, 62))
			if len(slots) != 62 {
				t.Fatalf("%s: %d slots in 62 days from %s", zoneName, len(slots), first)
			}
			for day, slot := range slots {
				if want := time.Date(year, time.December, 1+day, 12, 0, 0, 0, zone); !slot.Equal(want) {
					t.Errorf("%s: %s, want %s", zoneName, slot.In(zone), want)
				}
			}
		}
	}
}

func parseDay(t *testing.T, day string) time.Time {
	t.Helper()
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestAZoneHasOneNameAndNoPath(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"Europe//Berlin", "Europe/./Berlin", "./Europe/Berlin", "Europe/Berlin/", "./UTC", "./right/Europe/Berlin", "./posix/UTC", "./localtime",
		"./posixrules", "Europe/../UTC", "/UTC", ".", "..", "right/UTC", "posix/UTC", "localtime", "Local", "",
	} {
		if zone, err := schedule.LoadZone(name); err == nil {
			t.Errorf("%q is the zone %s", name, zone)
		}
	}
	for _, name := range []string{"UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+1", "Factory"} {
		if _, err := schedule.LoadZone(name); err != nil {
			t.Error(err)
		}
	}
}
