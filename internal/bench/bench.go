// Package bench measures whole exchanges between two nodes of this machine against the least that any such exchange must do.
//
// A ratio says more than a speed: what both sides of it share, the processor, the disk, the noise of other programs, falls out of
// it. So each Case is measured in turns, the bare reference and then Entente, several times in one run, and its Result is made of
// the medians. reference.go says what the reference does; nodes.go runs the nodes; growth.go measures nodes whose homes hold very many exchanges, which
// fill.go makes. docs/performance.md explains the figures.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"entente.example/internal/fault"
)

// Case is a load: so many documents of one size.
type Case struct {
	Name     string
	Size     int64 // of each document, in bytes
	Count    int   // of documents in one measurement
	Parallel int   // exchanges at once, of ours; the reference always makes one after the other
	Bytes    bool  // its speed is bytes per second; otherwise exchanges per second
}

// Cases are those whose ratios we promise.
var Cases = []Case{
	{Name: "1GiB", Size: 1 << 30, Count: 1, Parallel: 1, Bytes: true},
	{Name: "10MiB", Size: 10 << 20, Count: 8, Parallel: 1, Bytes: true},
	{Name: "4KiB", Size: 4 << 10, Count: 200, Parallel: 1},
	{Name: "4KiBx16", Size: 4 << 10, Count: 480, Parallel: 16},
}

// Unit is the unit of the case's speeds.
func (c Case) Unit() string {
	if c.Bytes {
		return "bytes/s"
	}
	return "exchanges/s"
}

// Result is what came out of one case.
type Result struct {
	Case
	Reference Speed
	Entente   Speed
}

// Ratio is the median of ours by that of the reference.
func (r Result) Ratio() float64 { return r.Entente.Median / r.Reference.Median }

// Speed sums up several measurements, in the unit of their case.
type Speed struct{ Median, Min, Max float64 }

func sum(speeds []float64) Speed {
	slices.Sort(speeds)
	n := len(speeds)
	return Speed{Median: (speeds[(n-1)/2] + speeds[n/2]) / 2, Min: speeds[0], Max: speeds[n-1]}
}

// Options says what to measure, and where.
type Options struct {
	// Dir gets a folder for everything that is written, which is removed in the end. It should lie on the disk that a node would
	// use: where a file costs nothing to sync, ratios mean something else.
	Dir     string
	Cases   []Case
	Runs    int    // measurements of each case, at least 1
	Profile string // a folder for CPU profiles of both nodes in each case; empty: none are taken
	// Program makes a command of the program of which this is a part: both sides are processes of their own.
	Program func(ctx context.Context, args ...string) *Command
	Doing   func(what string) // is told what goes on; called by one goroutine
	Told    func(Result)      // gets each result as it is there
}

// rest is how long both sides are left alone between two measurements: after an exchange the nodes still bring their new
// checkpoints to each other, which must not slow down whoever is measured next.
const rest = 500 * time.Millisecond

// Run measures one case after the other.
func Run(ctx context.Context, o Options) (err error) {
	dir, err := os.MkdirTemp(o.Dir, "entente-bench-")
	if err != nil {
		return fault.New(fault.Misused, "name a folder on a disk with room: --dir DIR", "make a folder for the measurement: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, c := range o.Cases {
		r, err := o.measure(ctx, dir, c)
		if err != nil {
			return fmt.Errorf("measure %s: %w", c.Name, err)
		}
		o.Told(r)
	}
	return nil
}

// measure makes the measurements of one case, in a folder that is removed afterwards.
func (o Options) measure(ctx context.Context, dir string, c Case) (_ Result, err error) {
	dir = filepath.Join(dir, c.Name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o.Doing(c.Name + ": founding two members")
	document, short := filepath.Join(dir, "document"), filepath.Join(dir, "short")
	if err := errors.Join(writeDocument(document, c.Size), writeDocument(short, min(c.Size, warmSize))); err != nil {
		return Result{}, err
	}
	ref, err := startReference(ctx, o, filepath.Join(dir, "reference"))
	if err != nil {
		return Result{}, fmt.Errorf("reference: %w", err)
	}
	defer func() { err = errors.Join(err, ref.close()) }()
	ours, err := o.ours(ctx, c, filepath.Join(dir, "entente"))
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, ours.close()) }()

	warm := c
	warm.Count = min(c.Count, 2*max(c.Parallel, 8))
	for _, side := range []exchanger{ref, ours} {
		if _, err := run(ctx, side, warm, short); err != nil {
			return Result{}, err
		}
	}
	var speeds [2][]float64
	for n := range o.Runs {
		o.Doing(fmt.Sprintf("%s: %d of %d", c.Name, n+1, o.Runs))
		for i, side := range []exchanger{ref, ours} {
			if err := errors.Join(ref.empty(), pause(ctx, rest)); err != nil {
				return Result{}, err
			}
			took, err := run(ctx, side, c, document)
			if err != nil {
				return Result{}, err
			}
			done := float64(c.Count)
			if c.Bytes {
				done *= float64(c.Size)
			}
			speeds[i] = append(speeds[i], done/took.Seconds())
		}
	}
	return Result{Case: c, Reference: sum(speeds[0]), Entente: sum(speeds[1])}, nil
}

// ours founds two members and starts their nodes.
func (o Options) ours(ctx context.Context, c Case, dir string) (*nodes, error) {
	addresses, err := freeAddresses(4)
	if err != nil {
		return nil, err
	}
	if err := found(ctx, dir, addresses, time.Now()); err != nil {
		return nil, err
	}
	return startNodes(ctx, o, c.Name, dir, addresses)
}

// exchanger brings documents from one process to another.
type exchanger interface {
	// exchange brings one document over and returns when its sender holds, durably, what the recipient has acknowledged.
	exchange(ctx context.Context, document string) error
	// parallel tells whether exchange may be called concurrently.
	parallel() bool
}

// run brings a document over as often, and as many at once, as the case says.
func run(ctx context.Context, side exchanger, c Case, document string) (time.Duration, error) {
	at := 1
	if side.parallel() {
		at = c.Parallel
	}
	group, some := errgroup.WithContext(ctx)
	group.SetLimit(at)
	begin := time.Now()
	for range c.Count {
		if some.Err() != nil {
			break
		}
		group.Go(func() error { return side.exchange(some, document) })
	}
	err := group.Wait()
	return time.Since(begin), cmp.Or(err, ctx.Err())
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
