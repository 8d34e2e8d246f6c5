// Licences lists the modules that Runledger is made of and those that its tests use, each with the
// licences of its texts, as docs/licences.md has them. It fails on one that is not permissive, the
// Mozilla Public License apart, whose duties end at its own files.
//
//	go run ./internal/licences > docs/licences.md
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if err := write(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

// module is what "go list" tells of one.
type module struct {
	Path, Version, Dir string
	Main               bool
}

// write lists all modules.
func write(out io.Writer) error {
	shipped, err := modules("list", "-deps", "-json=Module", "./cmd/runledger", "./api/client")
	if err != nil {
		return err
	}
	all, err := modules("list", "-deps", "-test", "-json=Module", "./...")
	if err != nil {
		return err
	}
	var text strings.Builder
	var faults []error
	list := func(title string, of []module, without []module) {
		fmt.Fprintf(&text, "\n## %s\n\n| module | version | licence |\n|---|---|---|\n", title)
		for _, m := range of {
			if slices.Contains(without, m) {
				continue
			}
			licences, err := read(m)
			faults = append(faults, err)
			fmt.Fprintf(&text, "| [%s](https://pkg.go.dev/%[1]s) | %s | %s |\n", m.Path, m.Version, strings.Join(licences, ", "))
		}
	}
	text.WriteString("# Licences\n\nMade by `make licences` of the licence texts in the modules themselves; `make check-licences` fails where it is not current, " +
		"or where a module comes with another licence than these permissive ones and MPL-2.0. Where several are named, parts of the module have their own.\n")
	list("In the binary and the Go client", shipped, nil)
	list("In the tests and tools of this repository only", all, shipped)
	if err := errors.Join(faults...); err != nil {
		return err
	}
	_, err = io.WriteString(out, text.String())
	return err
}

// modules are those of the packages that "go list" lists, by their paths.
func modules(args ...string) ([]module, error) {
	command := exec.Command("go", args...) //nolint:gosec,noctx // the arguments are those above, and the command ends by itself
	// As the image is built, wherever this runs.
	command.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	command.Stderr = os.Stderr
	listed, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	var found []module
	for decoder := json.NewDecoder(bytes.NewReader(listed)); ; {
		var p struct {
			Module *module
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) { //nolint:musttag // the names are those of the go command
			break
		} else if err != nil {
			return nil, err
		}
		if p.Module != nil && !p.Module.Main && !slices.Contains(found, *p.Module) {
			found = append(found, *p.Module)
		}
	}
	slices.SortFunc(found, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	return found, nil
}

// fileNames are what licence texts are called.
var fileNames = regexp.MustCompile(`(?i)^(licen[cs]e|copying)([-._].*)?$`)

// read names the licences of a module.
func read(m module) ([]string, error) {
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return nil, err
	}
	var named []string
	for _, entry := range entries {
		if !fileNames.MatchString(entry.Name()) || entry.IsDir() || strings.HasSuffix(entry.Name(), ".docs") { // of its pages
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		found, err := recognise(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %s %w", m.Path, entry.Name(), err)
		}
		named = append(named, found...)
	}
	slices.Sort(named)
	if named = slices.Compact(named); len(named) == 0 {
		return nil, fmt.Errorf("%s has no licence text", m.Path)
	}
	return named, nil
}

// marks are sentences that only one licence has.
var marks = []struct{ licence, sentence string }{
	{"Apache-2.0", "Apache License Version 2.0, January 2004"},
	{"MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"ISC", "Permission to use, copy, modify, and/or distribute this software for any purpose"},
	{"ISC", "Permission to use, copy, modify, and distribute this software for any purpose with or without fee"},
	{"MPL-2.0", "Mozilla Public License"},
	{"CC0-1.0", "CC0 1.0 Universal"},
	{"Unlicense", "This is free and unencumbered software released into the public domain"},
	{"public domain", "put into the public domain"},
}

// recognise names the licences that a text holds.
func recognise(text string) ([]string, error) {
	text = strings.Join(strings.Fields(text), " ")
	for _, refused := range []string{"GNU GENERAL PUBLIC LICENSE", "GNU AFFERO", "GNU LESSER", "Server Side Public License", "Business Source License", "Commons Clause"} {
		// MPL-2.0 names those that it can be combined with, in other letters.
		if strings.Contains(text, refused) {
			return nil, fmt.Errorf("holds the %s", refused)
		}
	}
	var found []string
	for _, mark := range marks {
		if strings.Contains(text, mark.sentence) {
			found = append(found, mark.licence)
		}
	}
	if strings.Contains(text, "Redistribution and use in source and binary forms") {
		if regexp.MustCompile(`(?i)neither the name|may be used to endorse|be used to endorse`).MatchString(text) {
			found = append(found, "BSD-3-Clause")
		} else {
			found = append(found, "BSD-2-Clause")
		}
	}
	if len(found) == 0 {
		return nil, errors.New("is none that is known here")
	}
	return found, nil
}
