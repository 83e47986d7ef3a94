package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

func (p *program) openCommand() *cobra.Command {
	var out string
	var force bool
	cmd := &cobra.Command{
		Use:   "open EXCHANGE",
		Short: "Open a document that this member has received, and write it to a file",
		Long: `Open asks the running node for a document. The node asks its policies whether
this person may read it, verifies the whole document, and writes down that it
was opened; the sender gets a signed receipt of the first opening. Only then is
the document given out.

-o names the file to write. If it is a folder that exists, the document gets its
own name there, unless that begins with a dot or is desktop.ini: files of such
names change how programs behave. The file appears when it is complete, and not
before; a file that is there already is left alone, unless --force is given.

If this program is killed meanwhile, a file .entente-….part stays in the folder,
with as much of the document as had come. Remove it.

EXCHANGE is FROM/ID/TO as "entente inbox" prints it, any beginning of it that
fits only one, or the ID alone.

With --json: exchange, label, label_means, file_name, media_type, size, path.`,
		Example: `entente open alpha/01K7XQ3W0V6N2T9R4M5B8C1D2E/bravo -o report.pdf
entente open 01K7XQ -o .`,
		Args:              args("EXCHANGE"),
		ValidArgsFunction: p.completeExchanges(true),
		RunE: func(cmd *cobra.Command, given []string) error {
			if out == "" {
				return fault.New(fault.Misused, "name a file, or a folder that exists: entente open "+given[0]+" -o .", "--output (-o) is missing")
			}
			if err := validRef(given[0]); err != nil {
				return err
			}
			return p.open(cmd.Context(), given[0], out, force)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "the FILE to write, or a folder that exists (required)")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there already")
	return cmd
}

// place is where a document goes: a folder, and a name unless the document's own is to be taken.
type place struct {
	dir, name string
	force     bool
}

// placeFor looks at -o before the document is asked for: opening leaves a trace, and should not fail over a name.
func placeFor(out string, force bool) (place, error) {
	if err := noPipe(out); err != nil {
		return place{}, err
	}
	info, err := os.Stat(out)
	switch {
	case err == nil && info.IsDir():
		return place{out, "", force}, nil
	case err == nil && !force:
		return place{}, exists(out)
	case err == nil && !info.Mode().IsRegular():
		return place{}, fault.New(fault.Misused, "name a file", "%s is not a regular file", out)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return place{}, fault.New(fault.Failed, "", "look at %s: %w", out, reason(err))
	case os.IsPathSeparator(out[len(out)-1]):
		return place{}, fault.New(fault.Misused, "make it first, or name another", "there is no folder %s", out)
	}
	return place{filepath.Dir(out), filepath.Base(out), force}, nil
}

func (p *program) open(ctx context.Context, ref, out string, force bool) error {
	to, err := placeFor(out, force)
	if err != nil {
		return err
	}
	// A probe: a folder that cannot be written must not cost a trace in the log either.
	probe, err := create(to.dir, "probe")
	if err != nil {
		return err
	}
	probe.abort()
	c, err := p.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	patience := time.AfterFunc(time.Second, func() { p.note("the node verifies the whole document before it gives any of it out\n") })
	defer patience.Stop()
	file := &arriving{place: to, program: p}
	defer file.abort()
	about, err := c.Open(ctx, ref, func(about *ententev1.Opened) (io.Writer, error) {
		patience.Stop()
		return file, file.begin(about)
	})
	if err != nil {
		return err
	}
	file.bar.done()
	if err := file.commit(to.force); err != nil {
		return err
	}
	return p.opened(about, file.path)
}

// arriving is a document that is being written beside its final name.
type arriving struct {
	place
	*program
	*output // nil until it begins
	bar     *bar
}

// begin chooses the name and makes the file.
func (a *arriving) begin(about *ententev1.Opened) (err error) {
	if a.place.name == "" {
		a.place.name = about.GetFileName()
		if err := ownName(a.place.name); err != nil {
			return err
		}
	}
	if a.output, err = create(a.place.dir, a.place.name); err != nil {
		return err
	}
	a.bar = a.progress(about.GetSize(), "receiving")
	return nil
}

// ownName checks the name that the sender has chosen, which must not turn a document into somebody's configuration.
func ownName(name string) error {
	const hint = "choose a name with -o FILE"
	if err := statement.ValidFileName(name); err != nil {
		return fault.New(fault.Invalid, hint, "the document's own %w", err)
	}
	if strings.HasPrefix(name, ".") || strings.EqualFold(name, "desktop.ini") {
		return fault.New(fault.Invalid, hint, "the document calls itself %.80q, and files of such names change how programs behave", name)
	}
	return nil
}

// Write takes the next bytes.
func (a *arriving) Write(b []byte) (int, error) {
	n, err := a.File.Write(b)
	a.bar.add(n)
	if err != nil {
		return n, fault.New(fault.Failed, "make room, and open it again", "write %s: %w", a.path, reason(err))
	}
	return n, nil
}

// abort removes what there is, unless it was committed.
func (a *arriving) abort() {
	a.bar.done()
	if a.output != nil {
		a.output.abort()
	}
}

func (p *program) opened(about *ententev1.Opened, path string) error {
	e := exchangeOf(about.GetExchange())
	if p.json {
		return p.emit(struct {
			Ref       string `json:"exchange"`
			Label     string `json:"label"`
			Means     string `json:"label_means,omitempty"`
			Name      string `json:"file_name"`
			MediaType string `json:"media_type"`
			Size      int64  `json:"size"`
			Path      string `json:"path"`
		}{e.Ref, e.Label, e.LabelMeans, about.GetFileName(), about.GetMediaType(), about.GetSize(), path})
	}
	p.fields(field{"label", p.labelAs(e.Label, e.LabelMeans)}, field{"from", e.From}, field{"purpose", e.Purpose}, field{"retain until", e.RetainUntil},
		field{"document", about.GetFileName()}, field{"type", about.GetMediaType()}, field{"size", size(about.GetSize())}, field{"written to", path})
	return nil
}
