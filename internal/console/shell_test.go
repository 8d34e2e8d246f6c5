package console_test

import (
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/console"
)

func TestALostConnectionSaysSoAndComesBackWithWhatWasMissed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.start(t, `{"type":"inventory_sync"}`)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.awaitText(".live", "Live")
	p.awaitText("main tbody tr", "Queued")
	s.hangUp()
	p.awaitText(".live", "Not live")
	p.awaitText("#polite", "The connection is lost")
	s.report(t, id, `{"status":"running"}`)
	s.start(t, `{"type":"inventory_sync"}`)
	if got := p.text("main tbody tr"); !strings.Contains(got, "Queued") {
		t.Errorf("without a connection the row says %q", got)
	}
	s.takeUp()
	evaluate[bool](p, "window.dispatchEvent(new Event('online'))")
	p.awaitText(".live", "Live")
	p.awaitText("main tbody tr", "Running")
	p.awaitText(".news", "1 new run")
}

func TestWhatCannotBeHadSaysSoAndCanBeTriedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, `{"type":"inventory_sync"}`)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.await("main tbody tr")
	s.hangUp()
	p.click(".tabs a:nth-child(2)")
	p.awaitText(".failure", "The server cannot be reached")
	p.accessible()
	s.takeUp()
	// It comes by itself, too: perhaps the button has gone already.
	evaluate[bool](p, "(document.querySelector('.failure button')?.click(), true)")
	p.await("main tbody tr")
	if got := p.count(".failure"); got != 0 {
		t.Errorf("%d failures still show", got)
	}
}

func TestWhatTakesLongerThanAMomentShowsProgress(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, `{"type":"inventory_sync"}`)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.await("main tbody tr[data-id]")
	s.slow.Store(int64(2 * time.Second))
	p.click(".tabs a:nth-child(2)")
	p.await(".progress")
	p.await(".skeleton-table") // where the rows will be
	p.await("main tbody tr[data-id]")
	p.awaitGone(".progress")
}

func TestTimesAreInTheViewersZoneOrInUTCAtOneSwitch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.exec(t, `INSERT INTO operation_runs (workspace_id, type, created_at, updated_at)
		VALUES ($1, 'inventory_sync', '2026-01-31T21:00:04Z', '2026-01-31T21:00:04Z')`, s.workspace.ID)
	p := s.open(t, s.workspace.Readonly, s.path("/runs?created_from=2026-01-31T20:00:00Z"))
	p.awaitText("td time", "ago")
	if got, want := evaluate[string](p, "document.querySelector('td time').title"), "31 Jan 2026, 16:00:04 GMT-5 · 31 Jan 2026, 21:00:04 UTC"; got != want {
		t.Errorf("on hover it says %q, want %q", got, want)
	}
	p.awaitText(".chips", "31 Jan 2026, 15:00:00 GMT-5")
	p.press("u")
	p.awaitText("td time", "31 Jan 2026, 21:00:04 UTC")
	p.awaitText(".chips", "31 Jan 2026, 20:00:00 UTC")
	p.navigate(s.path("/runs") + "#token=" + p.token)
	p.awaitText("td time", "31 Jan 2026, 21:00:04 UTC") // it is remembered
}

// TestHostileAndForeignDataStaysData shows names that are markup, that are written from right to
// left, and that do not end.
func TestHostileAndForeignDataStaysData(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	evil := `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>"'` + "`${window.pwned=1}`"
	long := strings.Repeat("Ungetüm", 120)
	arabic := "شركة النسخ الاحتياطي \u202eقلب"
	s.exec(t, `UPDATE workspaces SET name = $2 WHERE id = $1`, s.workspace.ID, arabic+" "+long)
	for _, text := range []string{evil, long, arabic, "javascript:window.pwned=1"} {
		s.exec(t, `INSERT INTO operation_runs (workspace_id, type, status, outcome, completed_at, initiator_name, failure_summary, context, summary_counts)
			VALUES ($1, $2, 'completed', 'failed', now(), $2, jsonb_build_array(jsonb_build_object('code', $2::text, 'message', $2::text)),
				jsonb_build_object($2::text, $2::text, '__proto__', jsonb_build_object('constructor', $2::text), 'backup_schedule_id', $2::text, 'operation_run_id', $2::text),
				jsonb_build_object($2::text, 3, 'total', 5))`, s.workspace.ID, text)
	}
	s.exec(t, `INSERT INTO operation_runs (workspace_id, type, status, outcome, completed_at, failure_summary, context, summary_counts)
		VALUES ($1, 'older', 'completed', 'failed', now(), '"text"', '[1, [2, null]]', '"text"')`, s.workspace.ID)
	p := s.open(t, s.workspace.Owner, s.path("/runs"))
	for _, width := range []int64{1440, 390} {
		p.size(width, 900)
		p.visit(s.path("/runs"))
		p.until("document.querySelectorAll('main tbody tr').length === 5")
		paths := []string{s.path(""), s.path("/runs")}
		for _, id := range p.rows() {
			paths = append(paths, s.path("/runs/"+id))
		}
		for _, path := range paths {
			p.visit(path)
			p.settle()
			if wide := evaluate[int64](p, "document.documentElement.scrollWidth"); wide > width {
				t.Errorf("%s is %d wide in a window of %d: %s", path, wide, width, evaluate[string](p, `[...document.querySelectorAll('main *')]
					.filter((e) => e.getBoundingClientRect().right > innerWidth + 1).slice(0, 3).map((e) => e.outerHTML.slice(0, 120)).join(' | ')`))
			}
			if p.count("main .failure") > 0 {
				t.Errorf("%s: %s", path, p.text("main .failure"))
			}
		}
	}
	p.visit(s.path("/runs?failure_code=" + "%3Cimg%20src%3Dx%20onerror%3Dwindow.pwned%3D1%3E"))
	p.awaitText(".chips", "<img src=x onerror=window.pwned=1>")
	if evaluate[bool](p, "window.pwned !== undefined || document.querySelector('img, main script') !== null") {
		t.Error("data was executed")
	}
	p.size(1440, 900)
	p.visit(s.path("/runs"))
	p.awaitText("main", `<img src=x onerror="window.pwned=1">`)
	p.accessible()
}

func TestWhoeverPrefersLittleMotionGetsNone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.start(t, `{"type":"inventory_sync"}`)
	s.report(t, id, `{"status":"running"}`)
	p := s.open(t, s.workspace.Readonly, s.path("/runs"))
	p.await(".turning")
	if evaluate[int](p, "document.getAnimations().length") == 0 {
		t.Error("nothing moves, so this test says nothing")
	}
	p.media("light", true)
	p.until("document.getAnimations().length === 0")
}

// TestTheConsoleIsLight sums what a browser loads at most, compressed as it is sent.
func TestTheConsoleIsLight(t *testing.T) {
	t.Parallel()
	site, err := console.New(console.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	total := len(site.Page().Gzip)
	files := os.DirFS("static")
	err = fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || name == "index.html" {
			return err
		}
		f, _, ok := site.Asset("any/" + name)
		if !ok {
			t.Errorf("%s is not served", name)
		}
		total += len(f.Gzip)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("all of it has %d bytes", total)
	if total >= 150_000 {
		t.Errorf("all of it has %d bytes, want less than 150 kB", total)
	}
}

func TestThePolicyOfThePageForbidsWhatItDoesNotNeed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	resp, err := http.Get(s.url + "/console/workspaces/1")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	policy := resp.Header.Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self';", "frame-ancestors 'none'",
		"base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'",
	} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy is %q, without %s", policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %q", policy)
	}
}
