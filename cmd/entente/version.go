package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	System   string `json:"system"`
}

func readVersion() version {
	v := version{Version: "development", Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	return v
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show which version of the program this is",
		Long: `Version prints the version and the revision of the source it was built from, the
Go version it was built with, and the system it was built for.

With --json: version, revision, go, system.`,
		Example: `entente version`,
		Args:    args(),
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			if p.json {
				return p.emit(v)
			}
			p.fields(field{"version", v.Version}, field{"revision", v.Revision}, field{"go", v.Go}, field{"system", v.System})
			return nil
		},
	}
}
