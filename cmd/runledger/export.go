package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/runledger/runledger/api/client"
)

// exportFlags say what to export.
type exportFlags struct {
	url                 string
	workspace, schedule string // as they were typed
	format, filter      string
}

// exported is what they select: the runs of a workspace, or the history of one of its backup schedules.
type exported struct {
	workspaceID, scheduleID int64 // the latter is 0 for the runs of all the workspace
	query                   url.Values
}

func (a *app) exportCommand() *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use:   "export FILE",
		Short: "Export runs from a server, and check that they came whole",
		Long: `Export writes the runs of a workspace, or the history of one of its backup
schedules, to FILE as NDJSON or CSV. The server ends an export with a receipt: the
count of the runs, the position of the first and the last, and a SHA-256. If what
came is not what the receipt says, or there is none, export fails and leaves FILE as
it was. The receipt is printed; for both formats it is about the bytes of FILE. Until
they are whole they are in a file of their own beside it, whose name begins like FILE's
and ends with .part. Nobody but you may read either. FILE is a new file, one to replace,
or a symlink to one of these, which stays; no device or pipe, since what was written
there could not be taken back.

The bearer token comes from RUNLEDGER_TOKEN, the server's address from --url or
RUNLEDGER_URL. --filter takes the parameters of the list as they stand in its address.`,
		Example: `  export RUNLEDGER_URL=https://runledger.example RUNLEDGER_TOKEN=…
  runledger export --workspace 7 runs.ndjson
  runledger export --workspace 7 --schedule 418 --format csv history.csv
  runledger export --workspace 7 --filter 'outcome=failed&created_from=2026-01-01T00:00:00Z' failed.ndjson`,
		Args: exactArgs("FILE"),
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		config, err := readConfig(a.environ, needToken)
		if err != nil {
			return err
		}
		if f.url == "" {
			f.url = config.URL
		}
		what, err := f.check()
		if err != nil {
			return err
		}
		path, err := destination(args[0])
		if err != nil {
			return err
		}
		receipt, err := a.export(cmd.Context(), f, config.Token, what, path)
		if err != nil {
			return err
		}
		text, err := json.Marshal(receipt)
		a.printf("%s\n", text)
		return err
	}
	c.Flags().StringVar(&f.url, "url", "", "the server's address (RUNLEDGER_URL)")
	c.Flags().StringVar(&f.workspace, "workspace", "", "the id of the workspace, a number (required)")
	c.Flags().StringVar(&f.schedule, "schedule", "", "the id of a backup schedule, for its history alone")
	c.Flags().StringVar(&f.format, "format", "ndjson", "ndjson or csv")
	c.Flags().StringVar(&f.filter, "filter", "", "parameters of the list, such as 'type=inventory_sync&order=created_at'")
	return c
}

// check finds what is wrong with the flags, and reads what they select.
func (f *exportFlags) check() (exported, error) {
	var what exported
	var faults []error
	if base, err := url.Parse(f.url); err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		faults = append(faults, errors.New("--url or RUNLEDGER_URL wants the server's address, such as https://runledger.example"))
	}
	var err error
	if what.workspaceID, err = parseID(f.workspace); err != nil {
		faults = append(faults, fmt.Errorf("--workspace wants the id of a workspace, a number such as 7, not %q; "+
			"GET /workspaces and \"runledger workspace list\" tell it", f.workspace))
	}
	if f.schedule != "" {
		if what.scheduleID, err = parseID(f.schedule); err != nil {
			faults = append(faults, fmt.Errorf("--schedule wants the id of a backup schedule, a number such as 418, not %q; "+
				"GET /workspaces/{workspace}/backup-schedules tells it", f.schedule))
		}
	}
	if f.format != "ndjson" && f.format != "csv" {
		faults = append(faults, errors.New("--format wants ndjson or csv"))
	}
	if what.query, err = url.ParseQuery(f.filter); err != nil {
		faults = append(faults, errors.New("--filter wants parameters as in an address, such as 'type=inventory_sync&outcome=failed'"))
	}
	if len(faults) > 0 {
		return what, usageError{errors.Join(faults...)}
	}
	return what, nil
}

// parseID reads an id, which is at least 1.
func parseID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err == nil && id < 1 {
		err = strconv.ErrRange
	}
	return id, err
}

// destination is the file that an export to path replaces or makes: path itself, or what it leads to by
// symlinks. Whatever else is there already is refused, as the export would be put in its place.
func destination(path string) (string, error) {
	if path == "-" {
		return "", usageError{errors.New("FILE is to be a file: one that did not come whole is taken away again, which standard output cannot")}
	}
	there, err := os.Stat(path)
	switch {
	case err == nil && !there.Mode().IsRegular():
		return "", usageError{fmt.Errorf("FILE is to be a file, new or to be replaced, and %s is %s", path, kindOf(there.Mode()))}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", usageError{fmt.Errorf("FILE cannot be written to: %w", err)}
	}
	const most = 40 // symlinks, as for Linux
	for range most {
		link, err := os.Readlink(path)
		if err != nil { // it is none
			return path, nil //nolint:nilerr // which is what was looked for
		}
		if !filepath.IsAbs(link) {
			beside, _ := filepath.Split(path) // and not cleaned: a .. behind a symlink leads elsewhere than it seems
			link = beside + link
		}
		path = link
	}
	return "", usageError{fmt.Errorf("FILE is to be a file, and %s is one of too many symlinks", path)}
}

// kindOf is what is at a path if it is no file.
func kindOf(mode fs.FileMode) string {
	switch mode.Type() {
	case fs.ModeDir:
		return "a directory"
	case fs.ModeNamedPipe:
		return "a pipe"
	case fs.ModeSocket:
		return "a socket"
	default:
		return "a device"
	}
}

// export writes the runs to path, which is there once it is whole and not before.
func (a *app) export(ctx context.Context, f exportFlags, token string, what exported, path string) (receipt client.Receipt, err error) {
	api, err := client.New(f.url, client.StaticToken(token))
	if err != nil {
		return receipt, usageError{err}
	}
	selected := client.RequestEditorFn(func(_ context.Context, request *http.Request) error {
		request.URL.RawQuery = what.query.Encode()
		return nil
	})
	// Another export to path at the same time has a file of its own, too; the last to end stays.
	beside, name := filepath.Split(path)
	part, err := os.CreateTemp(cmp.Or(beside, "."), name+".*.part")
	if err != nil {
		return receipt, err
	}
	defer func() {
		if err != nil {
			_ = part.Close()
			_ = os.Remove(part.Name())
		}
	}()
	const buffered = 256 << 10
	out := bufio.NewWriterSize(part, buffered)
	counted := &countingLines{to: out, show: progress(a.stderr, "exporting"), total: what.count(ctx, api)}
	format := map[string]client.ExportFormat{"ndjson": client.ExportNDJSON, "csv": client.ExportCSV}[f.format]
	if what.scheduleID > 0 {
		receipt, err = api.ExportBackupScheduleRuns(ctx, what.workspaceID, what.scheduleID, client.ListBackupScheduleRunsParams{}, format, counted, selected)
	} else {
		receipt, err = api.ExportOperationRuns(ctx, what.workspaceID, client.ListOperationRunsParams{}, format, counted, selected)
	}
	if err != nil {
		return receipt, fmt.Errorf("export: %w", err)
	}
	if err := errors.Join(out.Flush(), part.Sync()); err != nil {
		return receipt, err
	}
	if err := part.Close(); err != nil {
		return receipt, err
	}
	return receipt, os.Rename(part.Name(), path)
}

// count is how many runs there will be, as far as the server counts; -1 if that is not known. It is
// for the progress alone, so that a failure is none of the export.
func (e *exported) count(ctx context.Context, api *client.ClientWithResponses) int {
	wanted := url.Values{}
	for name, values := range e.query {
		if name != "order" && name != "fields" {
			wanted[name] = values
		}
	}
	if e.scheduleID > 0 {
		wanted.Set("backup_schedule_id", strconv.FormatInt(e.scheduleID, 10))
	}
	answer, err := api.CountOperationRunsWithResponse(ctx, e.workspaceID, nil, func(_ context.Context, request *http.Request) error {
		request.URL.RawQuery = wanted.Encode()
		return nil
	})
	if err != nil || answer.JSON200 == nil || answer.JSON200.Relation != "eq" {
		return -1
	}
	return int(answer.JSON200.Count)
}

// countingLines shows how far an export has come.
type countingLines struct {
	to          io.Writer
	show        func(done, total int)
	done, total int
}

// Write passes p on.
func (c *countingLines) Write(p []byte) (int, error) {
	c.done += bytes.Count(p, []byte{'\n'})
	total := c.total
	if c.done > total && total >= 0 {
		total = c.done // the head of a table, and runs that were added meanwhile
	}
	c.show(c.done, total)
	return c.to.Write(p)
}
