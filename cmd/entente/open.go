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

	"entente.example/internal/client"
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

If the connection breaks, open goes on where it was. If it does not come back,
or this program is interrupted or killed, a file .entente-….part stays in the
folder, with as much of the document as had come. The next open into the same
folder goes on with it; the policies are asked again, and it is one more opening
in the log. Remove it if you do not want that: it can be read by you. On Windows
it is of no further use, and open begins anew.

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
	c, err := p.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	file, err := p.arrive(ctx, c, ref, to)
	if err != nil {
		return err
	}
	defer file.abort()
	patience := time.AfterFunc(time.Second, func() { p.note("the node verifies the whole document before it gives any of it out\n") })
	defer patience.Stop()
	about, err := c.OpenFrom(ctx, ref, io.NewSectionReader(file.File, 0, file.has), func(about *ententev1.Opened) (io.Writer, error) {
		patience.Stop()
		return file, file.begin(about)
	})
	if err != nil {
		if ctx.Err() != nil || fault.KindOf(err) == fault.Transient {
			file.keep()
		}
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
	*output
	has int64 // bytes of it
	bar *bar
}

// arrive makes the file before the document is asked for: a folder that cannot be written must not cost a trace in the log. It is named after the
// manifest, so the node is asked first what the exchange is.
func (p *program) arrive(ctx context.Context, c *client.Client, ref string, to place) (a *arriving, err error) {
	found, err := c.Node().Show(ctx, &ententev1.ShowRequest{Exchange: ref})
	if err != nil {
		return nil, err
	}
	a = &arriving{place: to, program: p}
	var manifest statement.Hash
	if list := found.GetExchanges(); len(list) == 1 {
		err = manifest.UnmarshalText([]byte(list[0].GetManifestSha256()))
	} else {
		return nil, fault.New(fault.Misused, "write FROM/ID/TO", "%.128q is not one exchange", ref)
	}
	if err != nil {
		return nil, fault.New(fault.Failed, "compare the versions of the two programs: entente version", "the node names no manifest: %w", err)
	}
	if a.output, a.has, err = part(to.dir, manifest.String()); err != nil {
		return nil, err
	}
	if a.has > 0 {
		p.note("an earlier run has brought %s of it; going on from there\n", size(a.has))
	}
	return a, nil
}

// begin chooses the name, and looks for the place to go on at.
func (a *arriving) begin(about *ententev1.Opened) error {
	if a.place.name == "" {
		a.place.name = about.GetFileName()
		if err := ownName(a.place.name); err != nil {
			return err
		}
	}
	a.output.name, a.path = a.place.name, filepath.Join(a.place.dir, a.place.name)
	if _, err := a.File.Seek(a.has, io.SeekStart); err != nil {
		return fault.New(fault.Failed, "", "write %s: %w", a.path, reason(err))
	}
	a.bar = a.progress(about.GetSize(), "receiving")
	a.bar.set(a.has)
	return nil
}

// keep leaves what there is for the next run.
func (a *arriving) keep() {
	a.bar.done()
	if a.has > 0 && a.lasting {
		a.leave()
		a.note("the first %s of it stay in %s; open it again to go on, or remove that\n", size(a.has), filepath.Join(a.place.dir, a.temp))
	}
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
	a.has += int64(n)
	if err != nil {
		return n, fault.New(fault.Failed, "make room, and open it again", "write %s: %w", a.path, reason(err))
	}
	return n, nil
}

// abort removes what there is, unless it was committed or kept.
func (a *arriving) abort() {
	a.bar.done()
	a.output.abort()
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
