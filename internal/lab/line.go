package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// lines is the network between the members of a world: a relay, inside the process, on every connection that one member's
// node makes to another's. The caller's end is a pipe in memory, the other end is TCP; TLS goes through it untouched. It
// knows the members apart by who dials, and not by addresses.
type lines struct {
	mu      sync.Mutex // guards what follows
	ways    map[way]conditions
	relays  map[*relay]bool // that are open
	killed  map[string]bool // members that are as good as unplugged
	closed  bool            // nobody may dial now
	carried map[way]int64   // bytes that were handed over
	changed chan struct{}   // closed, and replaced, whenever one of these changes
	running sync.WaitGroup
}

// way is one direction: what travels from one member to another.
type way struct{ from, to string }

func (w way) back() way { return way{w.to, w.from} }

// conditions are what is wrong with a way. The zero value is a good one.
type conditions struct {
	parted   bool          // from cannot call to
	dropping bool          // what from sends vanishes
	delay    time.Duration // what from sends takes so much longer
}

func newLines() *lines {
	return &lines{ways: map[way]conditions{}, relays: map[*relay]bool{}, killed: map[string]bool{}, carried: map[way]int64{}, changed: make(chan struct{})}
}

var errParted = errors.New("partitioned by the test")

// dial connects one member to another at an address, through a relay.
func (l *lines) dial(ctx context.Context, w way, address string) (net.Conn, error) {
	if err := l.clear(ctx, w); err != nil {
		return nil, err
	}
	far, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	near, inner := net.Pipe()
	r := &relay{lines: l, way: w, caller: inner, called: far, done: make(chan struct{})}
	l.mu.Lock()
	if err := l.refuses(w); err != nil { // it came while we dialled
		l.mu.Unlock()
		_ = inner.Close()
		_ = far.Close()
		return nil, err
	}
	l.relays[r] = true
	l.running.Add(4) // before the lock is given up, so that close waits for them
	l.mu.Unlock()
	r.carry(w, inner, far)
	r.carry(w.back(), far, inner)
	return near, nil
}

// clear waits as long as connecting takes. Where packets vanish that is until they do not, or until ctx ends.
func (l *lines) clear(ctx context.Context, w way) error {
	for {
		l.mu.Lock()
		err := l.refuses(w)
		there, back, changed := l.ways[w], l.ways[w.back()], l.changed
		l.mu.Unlock()
		if err != nil {
			return err
		}
		var trip <-chan time.Time // there and back, which is what it takes TCP
		if !there.dropping && !back.dropping {
			if there.delay+back.delay == 0 {
				return nil
			}
			timer := time.NewTimer(there.delay + back.delay)
			defer timer.Stop()
			trip = timer.C
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("connect: %w", ctx.Err())
		case <-changed:
		case <-trip:
			return nil
		}
	}
}

// refuses tells why there is no way at all. The caller holds mu.
func (l *lines) refuses(w way) error {
	switch {
	case l.closed, l.killed[w.from], l.killed[w.to]:
		return net.ErrClosed
	case l.ways[w].parted:
		return errParted
	}
	return nil
}

func (l *lines) conditions(w way) conditions {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ways[w]
}

// set changes the conditions of a way. Then it breaks the connections that cannot be as they were: those that may not be
// any more, and those on which something vanished, which TCP never lets happen in the middle of a stream.
func (l *lines) set(w way, change func(*conditions)) {
	l.mu.Lock()
	c := l.ways[w]
	change(&c)
	l.ways[w] = c
	l.tell()
	l.mu.Unlock()
	l.shut(func(r *relay) bool { return c.parted && r.way == w || !c.dropping && r.lost[w] })
}

// tell wakes whoever waits for a change. The caller holds mu.
func (l *lines) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// shut breaks the connections that which picks; it is called with mu held.
func (l *lines) shut(which func(*relay) bool) {
	l.mu.Lock()
	var picked []*relay
	for r := range l.relays {
		if which(r) {
			picked = append(picked, r)
		}
	}
	l.mu.Unlock()
	for _, r := range picked {
		r.reset()
	}
}

// unplug breaks all connections of a member and lets it make none, and plug ends that.
func (l *lines) unplug(member string) {
	l.mu.Lock()
	l.killed[member] = true
	l.tell()
	l.mu.Unlock()
	l.shut(func(r *relay) bool { return r.way.from == member || r.way.to == member })
}

func (l *lines) plug(member string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.killed, member)
}

// mend ends all faults.
func (l *lines) mend() {
	l.mu.Lock()
	clear(l.ways)
	l.tell()
	l.mu.Unlock()
	l.shut(func(r *relay) bool { return len(r.lost) > 0 })
}

// close breaks what is left and waits until nothing runs any more.
func (l *lines) close() {
	l.mu.Lock()
	l.closed = true
	l.tell()
	l.mu.Unlock()
	l.shut(func(*relay) bool { return true })
	l.running.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = false // the world may be started again
}

// describe tells in lines of text which ways are not good, in the order of their names.
func (l *lines) describe() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w, c := range l.ways {
		if c.parted {
			list = append(list, fmt.Sprintf("%s cannot call %s: partitioned", w.from, w.to))
		}
		if c.dropping {
			list = append(list, fmt.Sprintf("what %s sends to %s vanishes", w.from, w.to))
		}
		if c.delay > 0 {
			list = append(list, fmt.Sprintf("what %s sends to %s takes %s longer", w.from, w.to, c.delay))
		}
	}
	slices.Sort(list)
	return list
}

// relay carries one connection.
type relay struct {
	lines          *lines
	way            way // who called whom
	caller, called net.Conn
	lost           map[way]bool // where something vanished; guarded by lines.mu
	end            sync.Once
	done           chan struct{} // closed when it has ended
}

// piece is what was read at once. The one without data is the end of the stream.
type piece struct {
	data []byte
	due  time.Time
}

// underWay bounds what is on its way in one direction: 64 pieces of at most 32 KiB. A sender that is faster waits, as for
// any slow line.
const (
	underWay  = 64
	pieceSize = 32 << 10
)

// carry starts carrying one direction; lines.running has room for it.
func (r *relay) carry(w way, from, to net.Conn) {
	pieces := make(chan piece, underWay)
	go func() {
		defer r.lines.running.Done()
		r.take(w, from, pieces)
	}()
	go func() {
		defer r.lines.running.Done()
		r.give(w, to, pieces)
	}()
}

func (r *relay) take(w way, from net.Conn, pieces chan<- piece) {
	for {
		buf := make([]byte, pieceSize)
		n, err := from.Read(buf)
		if n > 0 && !r.pass(w, buf[:n], pieces) {
			return
		}
		if err != nil {
			r.pass(w, nil, pieces)
			return
		}
	}
}

// pass puts a piece on its way. It tells whether the connection is still there.
func (r *relay) pass(w way, data []byte, pieces chan<- piece) bool {
	select {
	case pieces <- piece{data, time.Now().Add(r.lines.conditions(w).delay)}:
		return true
	case <-r.done:
		return false
	}
}

func (r *relay) give(w way, to net.Conn, pieces <-chan piece) {
	for {
		var p piece
		select {
		case p = <-pieces:
		case <-r.done:
			return
		}
		if !r.wait(p.due) {
			return
		}
		if r.vanishes(w) {
			continue
		}
		if p.data == nil {
			r.close()
			return
		}
		n, err := to.Write(p.data)
		r.lines.count(w, n)
		if err != nil {
			r.close()
			return
		}
	}
}

func (l *lines) count(w way, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.carried[w] += int64(n)
}

// wait waits until a piece is due. It tells whether the connection is still there then.
func (r *relay) wait(due time.Time) bool {
	pause := time.Until(due)
	if pause <= 0 {
		return true
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.done:
		return false
	}
}

// vanishes tells whether a piece is lost, and remembers it. An end of a stream that is lost leaves the other side waiting.
func (r *relay) vanishes(w way) bool {
	r.lines.mu.Lock()
	defer r.lines.mu.Unlock()
	if !r.lines.ways[w].dropping {
		return false
	}
	if r.lost == nil {
		r.lost = map[way]bool{}
	}
	r.lost[w] = true
	return true
}

// close ends the connection in order, for both sides.
func (r *relay) close() {
	r.end.Do(func() {
		close(r.done)
		_ = r.caller.Close()
		_ = r.called.Close()
		r.lines.mu.Lock()
		delete(r.lines.relays, r)
		r.lines.mu.Unlock()
	})
}

// reset ends it at once; what was not yet read is lost.
func (r *relay) reset() {
	if tcp, ok := r.called.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // closing sends RST
	}
	r.close()
}
