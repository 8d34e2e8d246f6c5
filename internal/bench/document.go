package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// The generated parts of the document stand between two such lines each.
func openingMark(section string) string { return "<!-- bench: " + section + " -->\n" }

const closingMark = "<!-- end -->"

// write puts a section's table into the document.
func (b *bench) write(ctx context.Context, section string, t *table) error {
	text, err := os.ReadFile(b.document)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(text, []byte(openingMark(section)))
	_, after, ended := bytes.Cut(rest, []byte(closingMark))
	if !found || !ended {
		return fmt.Errorf("%s has no part for %s: it wants the lines %q and %q", b.document, section, openingMark(section), closingMark)
	}
	origin, err := b.origin(ctx)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	out.Write(before)
	out.WriteString(openingMark(section))
	out.WriteString("\n" + t.markdown() + "\n" + origin + "\n\n")
	out.WriteString(closingMark)
	out.Write(after)
	return os.WriteFile(b.document, out.Bytes(), 0o644)
}

// origin says on what, and of what, a table was measured.
func (b *bench) origin(ctx context.Context) (string, error) {
	version, err := b.postgresVersion(ctx)
	if err != nil {
		return "", err
	}
	commit := b.source.commit
	if len(b.source.changed) > 0 {
		commit += "-dirty"
	}
	return fmt.Sprintf("*Measured on %s at commit %s: %s, PostgreSQL %s, %s.*",
		time.Now().UTC().Format("2 January 2006, 15:04 UTC"), commit, runtime.Version(), version, machine()), nil
}

// machine names the machine, and how busy it was with other things.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	load := ""
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(text), " ")
	}
	return fmt.Sprintf("%s/%s, %d cores of %s, load average %s at the end", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), model, load)
}

// source is what the server was built of.
type source struct {
	commit  string
	changed []string // files that are not as they are in the commit
}

// findSource finds out what the server is built of. The document is written while sections are measured,
// and is no part of the server, so that a change of it does not count.
func findSource(ctx context.Context, document string) (source, error) {
	commit, err := exec.CommandContext(ctx, "git", "describe", "--always").Output()
	if err != nil {
		return source{commit: "unknown"}, nil //nolint:nilerr // a copy of the sources without their history
	}
	root, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return source{}, err
	}
	status, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all").Output()
	if err != nil {
		return source{}, err
	}
	path, err := filepath.Abs(document)
	if err != nil {
		return source{}, err
	}
	own, err := filepath.Rel(string(bytes.TrimSpace(root)), path)
	return source{commit: string(bytes.TrimSpace(commit)), changed: changes(string(status), filepath.ToSlash(own))}, err
}

// changes are the files of a status of git, without the document.
func changes(status, document string) []string {
	var files []string
	for entry := range strings.SplitSeq(status, "\x00") {
		const letters = len("XY ") // what of it is in the index, and in the tree
		if len(entry) > letters && entry[letters:] != document {
			files = append(files, entry[letters:])
		}
	}
	return files
}

// mayBeWritten is an error if what would be written of the source names a commit that it is not.
func (s source) mayBeWritten() error {
	if len(s.changed) == 0 {
		return nil
	}
	return fmt.Errorf("the tree has changes that are in no commit, and the document would name one that was not measured: %s; "+
		"commit or stash them, measure without writing (-document \"\"), or write all the same (-write-uncommitted)", strings.Join(s.changed, ", "))
}
