package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	url                   string
	workspaceID, schedule int64
	format, filter        string
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
and ends with .part. Nobody but you may read either.

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
		if args[0] == "-" {
			return usageError{errors.New("FILE is to be a file: one that did not come whole is taken away again, which standard output cannot")}
		}
		query, err := f.check()
		if err != nil {
			return err
		}
		receipt, err := a.export(cmd.Context(), f, config.Token, query, args[0])
		if err != nil {
			return err
		}
		text, err := json.Marshal(receipt)
		a.printf("%s\n", text)
		return err
	}
	c.Flags().StringVar(&f.url, "url", "", "the server's address (RUNLEDGER_URL)")
	c.Flags().Int64Var(&f.workspaceID, "workspace", 0, "the id of the workspace (required)")
	c.Flags().Int64Var(&f.schedule, "schedule", 0, "the id of a backup schedule, for its history alone")
	c.Flags().StringVar(&f.format, "format", "ndjson", "ndjson or csv")
	c.Flags().StringVar(&f.filter, "filter", "", "parameters of the list, such as 'type=inventory_sync&order=created_at'")
	return c
}

// check finds what is wrong with the flags, and reads the filter.
func (f *exportFlags) check() (url.Values, error) {
	var faults []error
	if base, err := url.Parse(f.url); err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		faults = append(faults, errors.New("--url or RUNLEDGER_URL wants the server's address, such as https://runledger.example"))
	}
	if f.workspaceID < 1 || f.schedule < 0 {
		faults = append(faults, errors.New("--workspace wants the id of a workspace, and --schedule that of a backup schedule"))
	}
	if f.format != "ndjson" && f.format != "csv" {
		faults = append(faults, errors.New("--format wants ndjson or csv"))
	}
	query, err := url.ParseQuery(f.filter)
	if err != nil {
		faults = append(faults, errors.New("--filter wants parameters as in an address, such as 'type=inventory_sync&outcome=failed'"))
	}
	if len(faults) > 0 {
		return nil, usageError{errors.Join(faults...)}
	}
	return query, nil
}

// export writes the runs to path, which is there once it is whole and not before.
func (a *app) export(ctx context.Context, f exportFlags, token string, query url.Values, path string) (receipt client.Receipt, err error) {
	api, err := client.New(f.url, client.StaticToken(token))
	if err != nil {
		return receipt, usageError{err}
	}
	selected := client.RequestEditorFn(func(_ context.Context, request *http.Request) error {
		request.URL.RawQuery = query.Encode()
		return nil
	})
	// Another export to path at the same time has a file of its own, too; the last to end stays.
	part, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part")
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
	counted := &countingLines{to: out, show: progress(a.stderr, "exporting"), total: f.count(ctx, api, query)}
	format := map[string]client.ExportFormat{"ndjson": client.ExportNDJSON, "csv": client.ExportCSV}[f.format]
	if f.schedule > 0 {
		receipt, err = api.ExportBackupScheduleRuns(ctx, f.workspaceID, f.schedule, client.ListBackupScheduleRunsParams{}, format, counted, selected)
	} else {
		receipt, err = api.ExportOperationRuns(ctx, f.workspaceID, client.ListOperationRunsParams{}, format, counted, selected)
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
func (f *exportFlags) count(ctx context.Context, api *client.ClientWithResponses, query url.Values) int {
	wanted := url.Values{}
	for name, values := range query {
		if name != "order" && name != "fields" {
			wanted[name] = values
		}
	}
	if f.schedule > 0 {
		wanted.Set("backup_schedule_id", strconv.FormatInt(f.schedule, 10))
	}
	answer, err := api.CountOperationRunsWithResponse(ctx, f.workspaceID, nil, func(_ context.Context, request *http.Request) error {
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
