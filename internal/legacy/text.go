package legacy

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Report is what a step returns: it can be written as JSON, or as text for people.
type Report interface {
	// WriteText writes the report as lines for people.
	WriteText(w io.Writer)
}

// printer writes lines; what cannot be written is nobody's concern here.
type printer struct{ w io.Writer }

func (p printer) f(format string, args ...any) { _, _ = fmt.Fprintf(p.w, format+"\n", args...) }

// counts writes counts by reason, in order, and their sum.
func (p printer) counts(title string, counts Counts) {
	var sum int64
	parts := make([]string, 0, len(counts))
	for _, reason := range sortedKeys(counts) {
		sum += counts[reason]
		parts = append(parts, fmt.Sprintf("%d %s", counts[reason], reason))
	}
	p.f("  %s: %d rows = %s", title, sum, strings.Join(parts, " + "))
}

// list writes a heading and lines below it, or nothing if there are none.
func (p printer) list(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	p.f("%s:", title)
	for _, line := range lines {
		p.f("  - %s", line)
	}
}

// WriteText writes the plan.
func (r *PlanReport) WriteText(w io.Writer) {
	p := printer{w}
	p.f("State: %s", r.State)
	p.list("What expand refuses because of", r.Differences)
	if len(r.Tables) > 0 {
		p.f("Tables:")
		for _, t := range r.Tables {
			p.f("  %s: %d rows, %d MiB", t.Table, t.Rows, t.Bytes>>20)
		}
		p.f("What becomes of the rows (--list GROUP.REASON prints the ids):")
		for _, group := range sortedKeys(r.Counts) {
			p.counts(group, r.Counts[group])
		}
		p.f("Run types:")
		for _, t := range r.Types {
			if t.InMap {
				p.f("  %d runs of %q become %s", t.Rows, t.Type, t.Becomes)
			} else {
				p.f("  %d runs of %q are not in the map and stay as they are", t.Rows, t.Type)
			}
		}
	}
	p.dependents("Dependents of what goes", r.Dependents)
	p.dependents("Dependents of columns that get another type", r.Recreated)
	p.list("What blocks contract", r.Blockers)
	if len(r.Tables) > 0 {
		p.f("Estimate: backfill about %s, contract's preparation about %s, its locks about %s; %d MiB of disk",
			seconds(r.Estimate.BackfillSeconds), seconds(r.Estimate.PrepareSeconds), seconds(r.Estimate.LockSeconds), r.Estimate.DiskBytes>>20)
		p.list("Not judged", r.NotJudged)
	}
	p.f("%s", r.Message)
}

func (p printer) dependents(title string, found []Dependent) {
	lines := make([]string, 0, len(found))
	for _, d := range found {
		lines = append(lines, fmt.Sprintf("%s %s, on %s: %s", d.Kind, d.Name, d.On, d.Effect))
	}
	p.list(title, lines)
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// WriteText writes what Expand did.
func (r *ExpandReport) WriteText(w io.Writer) {
	p := printer{w}
	p.list("Columns added", r.Columns)
	p.list("Indexes added", r.Indexes)
	if r.UnassignedWorkspaceID != 0 {
		p.f("Workspace of the tenants without one: %d", r.UnassignedWorkspaceID)
	}
	p.f("%s", r.Message)
	p.next(r.State)
}

func (p printer) next(state State) {
	if next := state.Next(); next != "" {
		p.f("Next step: %s", next)
	}
}

// WriteText writes what Backfill did.
func (r *BackfillReport) WriteText(w io.Writer) {
	p := printer{w}
	for _, t := range r.Tasks {
		p.f("%s: %d rows read", t.Table, t.Rows)
		for _, group := range t.results() {
			p.counts(group, t.Results[group])
		}
	}
	if r.CaughtUp > 0 {
		p.f("%d rows were looked at again that the application has written meanwhile.", r.CaughtUp)
	}
	p.f("%s", r.Message)
	p.next(r.State)
}

// WriteText writes what Verify found.
func (r *VerifyReport) WriteText(w io.Writer) {
	p := printer{w}
	if len(r.Rows) > 0 {
		p.counts("compared", r.Rows)
	}
	if len(r.Skipped) > 0 {
		p.counts("made or changed since contract, not compared", r.Skipped)
	}
	if len(r.Pending) > 0 {
		p.counts("written meanwhile, to be looked at again by backfill or contract", r.Pending)
	}
	if len(r.UnknownType) > 0 {
		p.f("Types that are not in the map (they block nothing):")
		for _, name := range sortedKeys(r.UnknownType) {
			p.f("  %d runs of %q", r.UnknownType[name], name)
		}
	}
	if len(r.ByReason) > 0 {
		p.counts("differences", r.ByReason)
	}
	for i, d := range r.Differences {
		const shown = 50
		if i == shown {
			p.f("  … and %d more (--output json has the first 1,000)", r.Total-shown)
			break
		}
		p.f("  - %s", d)
	}
	p.f("%s", r.Message)
}

// WriteText writes what Contract did.
func (r *ContractReport) WriteText(w io.Writer) {
	p := printer{w}
	if r.State == Contracted && r.LockedMS > 0 {
		p.f("Locks were held for %d ms; %d rows were caught up, %d identity hashes derived.", r.LockedMS, r.CaughtUp, r.Duplicates)
	}
	p.list("Views made anew", r.RecreatedViews)
	p.list("Constraints that old rows break, and that stay NOT VALID", r.NotValid)
	p.list("What could not be made anew, and is left to you", r.NotDone)
	if len(r.Archived) > 0 {
		p.counts("archive", r.Archived)
	}
	p.f("%s", r.Message)
}

// WriteText writes how far the removal is.
func (r *StatusReport) WriteText(w io.Writer) {
	p := printer{w}
	p.f("State: %s", r.State)
	for _, t := range r.Tasks {
		done := "in progress"
		if t.Done {
			done = "done"
		}
		p.f("  %s: %d of about %d rows, %s", t.Task, t.Rows, max(t.Of, t.Rows), done)
	}
	if r.Noted > 0 {
		p.f("  %d rows written meanwhile are to be looked at again", r.Noted)
	}
	if len(r.Refusing) > 0 {
		p.list("Indexes that may refuse what the application writes, left by a contract that was killed", r.Refusing)
	}
	if r.Holder != "" {
		p.f("At work: %s", r.Holder)
	}
	if r.Next != "" {
		p.f("Next step: %s", r.Next)
	}
}

// WriteText writes what ImportUnbridged did.
func (r *ImportReport) WriteText(w io.Writer) {
	p := printer{w}
	for _, table := range sortedKeys(r.Imported) {
		p.f("  %s: %d runs made, %d were there, %d rows skipped", table, r.Imported[table], r.Before[table], r.Skipped[table])
	}
	p.f("%s", r.Message)
}

// WriteText writes what Undo did.
func (r *UndoReport) WriteText(w io.Writer) {
	p := printer{w}
	if r.Restored > 0 {
		p.f("%d inventory items have again the reference that the application had written.", r.Restored)
	}
	p.f("%s", r.Message)
}

// WriteText writes what Purge did.
func (r *PurgeReport) WriteText(w io.Writer) {
	p := printer{w}
	if len(r.Deleted) > 0 {
		p.counts("exported to "+r.Directory+" and deleted", r.Deleted)
	}
	p.list("Functions whose text names what is gone", r.Mentions)
	p.f("%s", r.Message)
}
