package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/audit"
	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// rounds brings our checkpoints to their witnesses, and their co-signatures back. A round is one checkpoint, the newest when it begins,
// and ends when a quorum has co-signed it, or when everybody was asked in vain; meanwhile the log goes on growing, and
// the next round takes all that. So each leaf waits for two rounds at most, however busy the log is. Each witness is asked by a goroutine of
// its own, one question at a time: who is down, slow or lying delays nobody but itself, as long as the quorum stands without it.
//
// What is known of witnesses is bookkeeping: when it is lost they say themselves where they are.
type rounds struct {
	n    *node
	wake chan struct{} // there may be something new in the log; holds at most one
	// unpublished says that the newest attempt to sign what is new has failed.
	unpublished atomic.Bool

	mu      sync.Mutex // guards what follows
	links   map[string]*link
	target  *target // of the newest round, or nil
	quorum  int
	reached chan struct{} // closed when a quorum is reached, and then replaced
	last    time.Time     // when we last had a quorum, by our clock
	ahead   bool          // the witnesses say that our clock is
	behind  error         // a witness holds more of our log than we do, and that could not be proved yet
	hurried time.Time     // when everybody is or was last asked because somebody waits; may lie ahead
	waiting int           // how many wait for a quorum
	size    int64         // of the largest tree that a step found signed
}

// link is one witness of our log. What it knows of the witness is guarded by rounds.mu.
type link struct {
	keys   checkpoint.Witness
	member string // whose node it is
	ask    func(context.Context, *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error)
	wake   chan struct{} // holds at most one
	stop   context.CancelFunc

	known    store.Witness
	unsaved  bool
	answered *target // that it last co-signed
	tried    *target // that it was last asked about
	failures int64
	pause    time.Time // not before, after a failure
}

// target is what a round wants to have co-signed.
type target struct {
	raw   []byte // as our log signed it
	tree  tlog.Tree
	at    time.Time // of our signature, as it says
	lines [][]byte  // the witnesses' lines, in the order in which they came
	done  bool      // a quorum has co-signed it
	// cosigned is what was written down of it; nil before a quorum has co-signed it.
	cosigned []byte
}

func newRounds(n *node) *rounds {
	return &rounds{n: n, wake: make(chan struct{}, 1), links: map[string]*link{}, reached: make(chan struct{})}
}

// nudge says that there may be a newer checkpoint.
func (r *rounds) nudge() { poke(r.wake) }

func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// wait gives a channel that is closed when a quorum is next reached.
func (r *rounds) wait() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reached
}

// hurry says that somebody waits for a quorum until ctx ends: meanwhile a round follows the last one after no more than limit.RoundPause. It asks
// everybody now, whoever failed before. That may be a person or a peer who asks again and again, so this is done once in
// limit.HurryPause: who comes too soon after the last time shares the next one with all others.
func (r *rounds) hurry(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting++
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waiting--
	})
	r.nudge()
	now := time.Now()
	if r.hurried.After(now) {
		return // it will be done
	}
	if next := r.hurried.Add(limit.HurryPause); next.After(now) {
		r.hurried = next
		time.AfterFunc(next.Sub(now), r.askAll)
		return
	}
	r.hurried = now
	r.wakeAll()
}

// askAll is wakeAll for who does not hold mu.
func (r *rounds) askAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wakeAll()
}

// wakeAll ends all pauses. The caller holds mu.
func (r *rounds) wakeAll() {
	for _, l := range r.links {
		l.pause = time.Time{}
		poke(l.wake)
	}
	r.nudge()
}

// lag notes that others hold more of our log than we do, or something else.
func (r *rounds) lag(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.behind = err
}

// run works until ctx ends.
func (r *rounds) run(ctx context.Context) error {
	var links sync.WaitGroup
	defer links.Wait()
	look := time.NewTicker(r.n.look) // programs beside the node write to the log, too
	defer look.Stop()
	heartbeat := time.NewTicker(r.n.heartbeat)
	defer heartbeat.Stop()
	r.thin(ctx)
	var p pace
	for wanted := true; ; {
		var due <-chan time.Time
		if wanted {
			if left := p.left(time.Now(), r.awaited()); left > 0 {
				due = time.After(left)
			} else {
				begun := time.Now()
				grew, err := r.step(ctx, func(ctx context.Context, l *link) { links.Go(func() { r.serve(ctx, l) }) })
				if err != nil && ctx.Err() == nil {
					r.n.log.Error("cannot bring checkpoints to witnesses", "error", err)
				}
				p.ran(begun, grew)
				wanted = grew // when the pause is over, whether it still grows
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-due:
		case <-r.wake:
			wanted = true
		case <-look.C:
			wanted = true
			r.save(context.WithoutCancel(ctx), nil, nil)
		case <-heartbeat.C:
			wanted = true
			r.thin(ctx)
			if _, err := r.n.Log.Renew(ctx); err != nil && ctx.Err() == nil {
				r.n.log.Error("cannot sign the log again", "error", err)
			}
		}
	}
}

// pace says how soon one round may follow the other. The first after a rest begins at once, the next limit.RoundPause later; as long as each finds
// that the log has grown the pauses get longer, up to limit.RoundPauseMost. So who does one thing sees it co-signed at once, and who does
// many pays for few rounds.
type pace struct {
	begun time.Time     // when the last round began
	grew  bool          // it found that the log had grown
	pause time.Duration // until the next
}

// left gives how long the next round has to wait. Who waits for a quorum is not kept longer than by limit.RoundPause.
func (p *pace) left(now time.Time, awaited bool) time.Duration {
	pause := p.pause
	if awaited {
		pause = min(pause, limit.RoundPause)
	}
	return pause - now.Sub(p.begun)
}

// ran notes when a round began, and whether it found that the log has grown.
func (p *pace) ran(begun time.Time, grew bool) {
	if grew && p.grew {
		p.pause = min(2*p.pause, limit.RoundPauseMost)
	} else {
		p.pause = limit.RoundPause
	}
	p.begun, p.grew = begun, grew
}

// awaited tells whether somebody waits for a quorum.
func (r *rounds) awaited() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting > 0
}

// thin removes co-signed checkpoints that are not needed any more. A busy log gets several in a second.
func (r *rounds) thin(ctx context.Context) {
	err := r.n.DB.Update(ctx, func(tx *store.Tx) error { _, err := tx.ThinCosigned(r.n.now()); return err })
	if err != nil && ctx.Err() == nil {
		r.n.log.Error("cannot thin out co-signed checkpoints", "error", err)
	}
}

// step signs what is new, and begins a new round if the last one is over and there is a newer checkpoint. start is called for each new witness.
// grew tells whether the log has grown since the last step.
func (r *rounds) step(ctx context.Context, start func(context.Context, *link)) (grew bool, err error) {
	h, err := r.n.alliance(ctx)
	if err != nil {
		return false, err
	}
	if r.n.Log.Stopped() != nil {
		return false, nil // nothing is signed any more, and everybody is told why
	}
	raw, err := r.n.Log.Publish(ctx)
	if r.unpublished.Store(err != nil && r.n.Log.Stopped() == nil); err != nil {
		return false, err
	}
	var known []store.Witness
	err = r.n.DB.View(ctx, func(v *store.View) error { known, err = v.Witnesses(); return err })
	if err != nil {
		return false, fmt.Errorf("read what is known of witnesses: %w", err)
	}
	c, err := checkpoint.Open(raw, r.n.ownLog())
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	grew = c.Tree.N > r.size
	r.size, r.quorum = c.Tree.N, h.Quorum()
	r.connect(ctx, h, known, start)
	if r.target != nil && (bytes.Equal(r.target.raw, raw) || !r.over()) {
		return grew, nil
	}
	r.target = &target{raw: raw, tree: c.Tree, at: c.Time}
	for _, l := range r.links {
		poke(l.wake)
	}
	return grew, nil
}

// over tells whether nothing more can come of the round: a quorum is there, or everybody was asked. The caller holds mu.
func (r *rounds) over() bool {
	if r.target.done {
		return true
	}
	for _, l := range r.links {
		if l.answered != r.target && l.tried != r.target && !time.Now().Before(l.pause) {
			return false
		}
	}
	return true
}

// connect makes the links those of the witnesses that the charter now names. The caller holds mu.
func (r *rounds) connect(ctx context.Context, h *member.History, known []store.Witness, start func(context.Context, *link)) {
	wanted := r.n.witnesses(h)
	for name, l := range r.links {
		if !slices.ContainsFunc(wanted, func(w *link) bool { return w.keys == l.keys }) {
			l.stop()
			delete(r.links, name)
			r.target = nil // its lines may be among those of this round, and count no more
		}
	}
	for _, l := range wanted {
		name := l.keys.Name()
		if r.links[name] != nil {
			continue
		}
		l.known = store.Witness{Name: name}
		if i := slices.IndexFunc(known, func(w store.Witness) bool { return w.Name == name }); i >= 0 {
			l.known = known[i]
		}
		l.wake = make(chan struct{}, 1)
		life, stop := context.WithCancel(ctx)
		l.stop = stop
		r.links[name] = l
		start(life, l)
	}
}

// witnesses lists who witnesses our log: the other members in good standing, and the outside witnesses in the charter.
func (n *node) witnesses(h *member.History) []*link {
	var list []*link
	for _, m := range h.Members() {
		if m.Name == n.Config.Member || !h.InGoodStanding(m.Name) {
			continue
		}
		list = append(list, &link{member: m.Name, keys: checkpoint.Witness{Ed25519: m.WitnessKey, MLDSA: m.WitnessMLDSA},
			ask: func(ctx context.Context, req *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
				return call(ctx, n, m, func(c ententev1.PeerServiceClient) (*ententev1.WitnessResponse, error) { return c.Witness(ctx, req) })
			}})
	}
	for _, w := range h.OutsideWitnesses() {
		list = append(list, &link{keys: checkpoint.Witness{Ed25519: w.Key, MLDSA: w.MLDSA},
			ask: func(ctx context.Context, req *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
				return n.outside.ask(ctx, w, req.GetRequest())
			}})
	}
	return list
}

// serve asks one witness, again and again, until its link ends.
func (r *rounds) serve(ctx context.Context, l *link) {
	for ctx.Err() == nil {
		t, pause := r.due(l)
		if t != nil {
			r.one(ctx, l, t)
			continue
		}
		var timer <-chan time.Time
		if pause > 0 {
			timer = time.After(pause)
		}
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-timer:
		}
	}
}

// due gives what a witness is to be asked about now, or nil and after what time to look again if nothing new comes; 0 is never.
func (r *rounds) due(l *link) (t *target, pause time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.target == nil || l.answered == r.target {
		return nil, 0
	}
	if pause = time.Until(l.pause); pause > 0 {
		return nil, pause
	}
	return r.target, 0
}

// one asks one witness once, and takes note of what comes of it.
func (r *rounds) one(ctx context.Context, l *link, t *target) {
	r.mu.Lock()
	size := l.known.Size
	r.mu.Unlock()
	co, lines, at, err := r.question(ctx, l, t, size)
	if at != size && err != nil {
		size = at
	}
	if ctx.Err() != nil {
		return // we are stopping, which is no failure of the witness's
	}
	now := r.n.now()
	r.mu.Lock()
	l.tried, l.unsaved = t, true
	l.known.Asked, l.known.LastError = now, ""
	if err != nil {
		l.failures++
		r.ahead = r.ahead || errors.Is(err, errAhead) && len(t.lines) == 0
		l.known.Size, l.known.LastError = size, describe(err)
		l.pause = time.Now().Add(backoff(l.failures))
		r.mu.Unlock()
		r.nudge() // this may have been the last of the round
		r.n.log.Warn("no co-signature", "witness", l.keys.Name(), "error", l.known.LastError)
		return
	}
	l.failures, l.pause, l.answered = 0, time.Time{}, t
	r.ahead = false
	l.known.Size, l.known.At = t.tree.N, co.Time
	before := t.cosigned
	var cosigned []byte
	// Beyond a quorum one more is kept, also if it comes when the round is over: the counterpart of an exchange is a party to it, and without its
	// co-signature those of a quorum are to be left.
	if (t == r.target || t.done) && len(t.lines) <= r.quorum {
		if t.lines = append(t.lines, lines); len(t.lines) >= r.quorum {
			t.done = true
			if cosigned, err = r.join(t); err == nil {
				t.cosigned = cosigned
			}
		}
	}
	r.mu.Unlock()
	if err != nil {
		r.n.log.Error("cannot join co-signatures", "error", err)
	}
	if cosigned != nil {
		r.save(context.WithoutCancel(ctx), &store.Cosigned{Size: t.tree.N, At: now, Note: cosigned}, before)
	}
	r.nudge()
}

// join puts the log's lines and a quorum's together, and reads them as everybody else will. The caller holds mu.
func (r *rounds) join(t *target) ([]byte, error) {
	raw, err := checkpoint.Join(t.raw, t.lines...)
	if err != nil {
		return nil, err
	}
	var keys []checkpoint.Witness
	for _, l := range r.links {
		keys = append(keys, l.keys)
	}
	if _, err := checkpoint.Open(raw, r.n.ownLog(), keys...); err != nil {
		return nil, err
	}
	return raw, nil
}

// save writes down what is new about witnesses, and a checkpoint with its quorum if there is one, and then says so. before is the same checkpoint
// with fewer co-signatures, if that was written down.
func (r *rounds) save(ctx context.Context, c *store.Cosigned, before []byte) {
	var news []store.Witness
	r.mu.Lock()
	for _, l := range r.links {
		if l.unsaved {
			news, l.unsaved = append(news, l.known), false
		}
	}
	r.mu.Unlock()
	if c == nil && len(news) == 0 {
		return
	}
	err := r.n.DB.Update(ctx, func(tx *store.Tx) error {
		for _, w := range news {
			if err := tx.PutWitness(w); err != nil {
				return err
			}
		}
		switch {
		case c == nil:
			return nil
		case before != nil:
			return tx.ExtendCosigned(*c, before)
		}
		return tx.PutCosigned(*c)
	})
	if err != nil {
		r.n.log.Error("cannot keep co-signatures", "error", err) // the next round brings others
		return
	}
	if c == nil || before != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = c.At
	close(r.reached)
	r.reached = make(chan struct{})
}

// question speaks to one witness about one checkpoint. If the witness says that it is somewhere else than we thought, it is asked again from
// there; at is where it is, as far as we know now.
func (r *rounds) question(ctx context.Context, l *link, t *target, size int64) (co checkpoint.Cosignature, lines []byte, at int64, err error) {
	for range 3 {
		req, err := r.request(ctx, t, min(size, t.tree.N))
		if err != nil {
			return co, nil, size, err
		}
		a, err := l.question(ctx, req)
		if err != nil {
			return co, nil, size, err
		}
		r.n.gossip.shows(l.member, a.GetCharterSha256())
		if len(a.GetFork()) > 0 {
			if err := r.n.learnFork(ctx, a.GetFork(), ""); err != nil {
				r.n.log.Warn("a witness claims without proof that our log forked", "witness", l.keys.Name(), "error", err)
			}
		}
		switch a.GetStatus() {
		case audit.StatusOK:
			co, lines, err = checkpoint.Answer(t.raw, a.GetBody(), l.keys)
			return co, lines, size, err
		case audit.StatusConflict:
			if size, err = r.elsewhere(ctx, t, a); err != nil {
				return co, nil, size, err
			}
		default:
			if err := ahead(t.at, a); err != nil {
				return co, nil, size, err
			}
			return co, nil, size, fmt.Errorf("it answered %d: %.200q", a.GetStatus(), bytes.TrimSpace(a.GetBody()))
		}
	}
	return co, nil, size, errors.New("each time it was asked it named another size")
}

// errAhead begins the sentence that a person reads beside the witness.
var errAhead = errors.New("our clock seems to be ahead")

// ahead tells whether a witness refused a checkpoint of ours, signed at that time, because there it is not that late yet.
func ahead(at time.Time, a *ententev1.WitnessResponse) error {
	there := time.UnixMicro(a.GetClock())
	if a.GetClock() == 0 || !at.After(there.Add(limit.ClockSkew)) {
		return nil
	}
	return fault.New(fault.Transient, "", "%w: we signed at %s, and there it is %s", errAhead, at.Format(time.RFC3339), there.UTC().Format(time.RFC3339))
}

// date is what our checkpoints are dated by: our clock, or nothing while the witnesses say that it is ahead and nobody disagrees. Then the log
// keeps the date of its newest checkpoint, which it cannot take back, so that this date comes as soon as it can.
func (r *rounds) date() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ahead {
		return time.Time{}
	}
	return r.n.now()
}

func (l *link) question(ctx context.Context, req *ententev1.WitnessRequest) (*ententev1.WitnessResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, limit.WitnessCall)
	defer cancel()
	return l.ask(ctx, req)
}

// request makes the body of add-checkpoint.
func (r *rounds) request(ctx context.Context, t *target, size int64) (*ententev1.WitnessRequest, error) {
	var old tlog.Tree
	var proof tlog.TreeProof
	err := r.n.DB.View(ctx, func(v *store.View) (err error) { old, proof, err = prove(v, size, t.tree.N); return err })
	if err != nil {
		return nil, err
	}
	req := &ententev1.WitnessRequest{Request: checkpoint.Request{Old: size, Proof: proof, Checkpoint: t.raw}.Format()}
	if size > 0 {
		req.OldRoot = old.Hash[:]
	}
	return req, nil
}

// elsewhere judges a witness that does not hold what we thought, and gives the size from which to ask it again.
func (r *rounds) elsewhere(ctx context.Context, t *target, a *ententev1.WitnessResponse) (size int64, err error) {
	if len(a.GetHeld()) > 0 {
		if err := r.n.compareOwn(ctx, a.GetHeld()); err != nil {
			return 0, err
		}
	}
	if _, err := fmt.Sscanf(string(a.GetBody()), "%d\n", &size); err != nil || size < 0 {
		return 0, errors.New("it answered 409 without a size")
	}
	if size > t.tree.N {
		return 0, fault.New(fault.Transient, "", "it holds %d leaves of our log, more than the %d that it was asked about", size, t.tree.N)
	}
	return size, nil
}
