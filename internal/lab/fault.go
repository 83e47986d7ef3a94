package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/store"
)

// The faults below take a direction, from one member to another. Who wants both calls twice.

// Partition breaks the connections that from has made to to, and refuses new ones until Heal.
func (w *World) Partition(from, to string) {
	w.lines.set(way{from, to}, func(c *conditions) { c.parted = true })
}

// Drop has all vanish that from sends to to, on connections of either, until Heal. Nobody is told: connections hang, and
// so do attempts to connect.
func (w *World) Drop(from, to string) {
	w.lines.set(way{from, to}, func(c *conditions) { c.dropping = true })
}

// Delay has all that from sends to to take d longer, on connections of either. What is on its way keeps the time that it
// had.
func (w *World) Delay(from, to string, d time.Duration) {
	w.lines.set(way{from, to}, func(c *conditions) { c.delay = max(d, 0) })
}

// Heal ends what Partition, Drop and Delay began in that direction. Connections on which something vanished break.
func (w *World) Heal(from, to string) {
	w.lines.set(way{from, to}, func(c *conditions) { *c = conditions{} })
}

// Cut breaks the connections that from has made to to. New ones work.
func (w *World) Cut(from, to string) {
	w.lines.shut(func(r *relay) bool { return r.way == way{from, to} })
}

// Carried tells how many bytes from has sent to to, on connections of either, and the other end has been handed.
func (w *World) Carried(from, to string) int64 {
	w.lines.mu.Lock()
	defer w.lines.mu.Unlock()
	return w.lines.carried[way{from, to}]
}

// SetClock sets the clock of a member's node, running or not, so much ahead of the machine's, or behind it if offset is
// negative. The alliance's certificates begin Backdated before its founding, and no clock may show an earlier time.
func (w *World) SetClock(member string, offset time.Duration) error {
	r := w.members[member]
	if r == nil {
		return noMember(member)
	}
	if offset < -Backdated || offset > Ahead {
		return fault.New(fault.Misused, "", "a clock can be set %s back or %s ahead at most", Backdated, Ahead)
	}
	r.offset.Store(int64(offset))
	return nil
}

// Backdated is how long ago an alliance was founded, as its certificates say, when Found makes it. Without that, a node
// whose clock is set back would find its own certificate not valid yet.
const Backdated = 24 * time.Hour

// Ahead is how far ahead a clock can be set: until after keys have retired, and before certificates end.
const Ahead = limit.KeyRetirement + 24*time.Hour

// now is the time that the member's node has.
func (r *running) now() time.Time { return time.Now().Add(time.Duration(r.offset.Load())) }

func noMember(name string) error {
	return fault.New(fault.Misused, "", "there is no member %q in this world", name)
}

// Kill ends a member's node as kill -9 would: connections break, nothing is tidied up, and what Start finds on the disk is
// what was there at one moment. For that, Kill holds the database so that nothing can be committed, copies the home,
// breaks every connection, and only then has the node end; whatever it wrote after that moment is thrown away with its
// home, and the copy takes its place. Killing a node that does not run does nothing.
//
// It is not a power cut: what was written but not synced is there. And it strikes between two transactions, or before one
// that is under way, never between the writes of one commit; that is SQLite's own business, and the tests of this folder
// kill real processes for it.
func (w *World) Kill(ctx context.Context, member string) error {
	r := w.members[member]
	if r == nil {
		return noMember(member)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop == nil {
		return nil
	}
	left := r.dir + ".left"
	err := r.strike(ctx, left, func() { w.lines.unplug(member) })
	if err != nil && !errors.Is(err, errStruck) {
		return fmt.Errorf("kill %s: %w", member, err)
	}
	<-r.ended //nolint:errcheck // whatever it says, it was killed
	r.stop, r.ended, r.doors = nil, nil, nil
	dead := r.dir + ".dead"
	err = errors.Join(os.Rename(r.dir, dead), os.Rename(left, r.dir), os.RemoveAll(dead))
	if err != nil {
		return fmt.Errorf("kill %s: %w", member, err)
	}
	return nil
}

var errStruck = errors.New("struck")

// strike copies the home to left and ends the node while nothing can be committed. It gives errStruck when it did. It does
// inside an Update what nobody else may, wait for the disk: that is the point, since the node must not get any further.
func (r *running) strike(ctx context.Context, left string, unplug func()) (err error) {
	db, err := store.Open(ctx, r.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.Update(ctx, func(*store.Tx) error {
		if err := copyHome(r.dir, left); err != nil {
			return errors.Join(err, os.RemoveAll(left))
		}
		unplug()
		for _, d := range r.doors {
			d.slam()
		}
		r.stop()
		return errStruck
	})
}

// copyHome copies a home in which nothing is committed meanwhile. Files may come and go: those that go were not referred to.
// The index of the write-ahead log is left behind, as it is only valid while somebody uses it.
func copyHome(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.Mkdir(filepath.Join(to, name), 0o700)
		case name == store.File+"-shm":
			return nil
		}
		err = copyFile(path, filepath.Join(to, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// door is a listener that remembers whom it let in, so that it can be slammed. It gives out the connections of the
// listener beneath as they are, because package rpc knows its own.
type door struct {
	net.Listener

	mu   sync.Mutex // guards what follows
	let  []net.Conn
	shut bool
}

// Accept lets somebody in.
func (d *door) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	shut := d.shut
	d.let = append(d.let, c)
	d.mu.Unlock()
	if shut {
		_ = c.Close()
	}
	return c, nil
}

// slam closes the listener and every connection.
func (d *door) slam() {
	d.mu.Lock()
	d.shut = true
	let := d.let
	d.mu.Unlock()
	_ = d.Listener.Close()
	var all sync.WaitGroup
	for _, c := range let {
		all.Go(func() { _ = c.Close() }) // one that says farewell takes a moment
	}
	all.Wait()
}
