package console_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/runledger/runledger/internal/dbtest"
)

// TestMain closes the browser after the last test and before a look for what the tests left behind.
func TestMain(m *testing.M) { dbtest.Main(closing{m}) }

type closing struct{ tests *testing.M }

func (c closing) Run() int {
	status := c.tests.Run()
	if browser.close != nil {
		if err := browser.close(); err != nil {
			fmt.Fprintln(os.Stderr, "close the browser:", err)
			status = max(status, 1)
		}
	}
	return status
}

// browser is the one browser process of this test binary. Each test has a browser context of its
// own in it, so that they share neither storage nor connections.
var browser struct {
	start sync.Once
	ctx   context.Context //nolint:containedctx // chromedp's handle of a browser is a context
	err   error
	close func() error
}

// turns bounds how many tests use the browser at once: more than a machine has processors only make
// each other wait.
var turns = make(chan struct{}, 3)

// withoutBrowser says what to do where there is no browser.
const withoutBrowser = "no chromium here: apt-get install chromium (or name one in RUNLEDGER_TEST_CHROMIUM)"

// needBrowser starts the browser and waits for the test's turn to use it. Where there is none the
// test is skipped, unless RUNLEDGER_TEST_CHROMIUM asks for one.
func needBrowser(t *testing.T) {
	t.Helper()
	path := os.Getenv("RUNLEDGER_TEST_CHROMIUM")
	if path == "" {
		found, err := exec.LookPath("chromium")
		if err != nil {
			t.Skip(withoutBrowser)
		}
		path = found
	}
	turns <- struct{}{}
	t.Cleanup(func() { <-turns })
	browser.start.Do(func() { startBrowser(path) })
	if browser.err != nil {
		t.Fatalf("start %s: %v", path, browser.err)
	}
}

// newTab is a tab in a fresh browser context, closed when the test ends. listen gets all its events.
func newTab(t *testing.T, listen func(event any)) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(listen))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	return ctx
}

func startBrowser(path string) {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", "en-GB"),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	browser.ctx, _ = chromedp.NewContext(allocator) //nolint:fatcontext // there is one browser, and it is started once
	browser.close = func() error {
		defer stop()
		ctx, cancel := context.WithTimeout(browser.ctx, 20*time.Second)
		defer cancel()
		return chromedp.Cancel(ctx)
	}
	browser.err = chromedp.Do(browser.ctx)
}
