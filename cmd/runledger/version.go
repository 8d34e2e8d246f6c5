package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/runledger/runledger/db"
)

// release is set by the linker when a release is built.
var release = ""

// version names this build: the release, else the module's version or the commit.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return info.Main.Version
}

// versionText says which binary this is, in a line.
func versionText() string {
	return fmt.Sprintf("runledger %s (%s, schema %d)", version(), runtime.Version(), db.LatestVersion())
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary and of the schema that it knows",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			a.printf("%s\n", versionText())
			return nil
		},
	}
}
