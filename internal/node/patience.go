package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"entente.example/internal/audit"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// Witnessing is how well a member's log is witnessed, and what the member witnesses of others.
type Witnessing struct {
	Log       string
	Leaves    int64                  // of the log now
	Stopped   error                  // why it signs nothing any more; nil if it signs
	Quorum    int                    // how many witnesses must co-sign
	Witnesses []store.Witness        // all that are asked, sorted by name
	Since     time.Time              // when a quorum last co-signed, or since when there is a log if none ever did
	Cosigned  int64                  // leaves of the largest tree that a quorum co-signed
	Patience  time.Duration          // how long after Since documents are still exchanged
	Forks     []store.Fork           // proofs that logs forked, ours too
	Others    []audit.Witnessed      // what we have co-signed
	Keys      map[string]audit.Known // of the logs in Others and Forks
}

// Left is how long documents are still exchanged if no quorum co-signs; zero or less: not any more.
func (w *Witnessing) Left(now time.Time) time.Duration { return w.Since.Add(w.Patience).Sub(now) }

// ClockAhead tells whether a witness said, when it was last asked, that our clock is ahead of its own by more than clocks may differ.
func (w *Witnessing) ClockAhead() bool {
	return slices.ContainsFunc(w.Witnesses, func(one store.Witness) bool { return strings.HasPrefix(one.LastError, errAhead.Error()) })
}

// Witnessing reads how well the log is witnessed. It works beside a running node.
func (h *Home) Witnessing(ctx context.Context) (*Witnessing, error) {
	history, err := h.History(ctx)
	if err != nil {
		return nil, err
	}
	w := &Witnessing{Quorum: history.Quorum(), Patience: h.patience(history), Keys: map[string]audit.Known{}}
	self, _ := history.Member(h.Config.Member)
	w.Log = self.Log.Name()
	head := filepath.Join(h.Dir, headDir)
	w.Stopped = audit.Stopped(head, w.Log)
	err = h.DB.View(ctx, func(v *store.View) error { return w.read(v, history, h.Config.Member) })
	if err != nil {
		return nil, fmt.Errorf("read witnesses: %w", err)
	}
	if w.Others, err = audit.ListWitnessed(head); err != nil {
		return nil, err
	}
	for _, o := range w.Others {
		if _, log, ok := logOf(history, o.Log); ok {
			w.Keys[o.Log] = audit.Known{Log: log}
		}
	}
	for _, f := range w.Forks {
		if _, log, ok := logOf(history, f.Log); ok {
			w.Keys[f.Log] = audit.Known{Log: log, Forked: f.Raw}
		}
	}
	return w, nil
}

func (w *Witnessing) read(v *store.View, history *member.History, self string) error {
	var err error
	if w.Leaves, err = v.Size(); err != nil {
		return err
	}
	if w.Forks, err = v.Forks(""); err != nil {
		return err
	}
	known, err := v.Witnesses()
	if err != nil {
		return err
	}
	for _, name := range witnessNames(history, self) {
		one := store.Witness{Name: name}
		if i := slices.IndexFunc(known, func(k store.Witness) bool { return k.Name == name }); i >= 0 {
			one = known[i]
		}
		w.Witnesses = append(w.Witnesses, one)
	}
	if w.Since, err = founded(v); err != nil {
		return err
	}
	if at := quorumAt(w.Witnesses, w.Quorum); at.After(w.Since) {
		w.Since = at
	}
	c, err := v.NewestCosigned()
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if c.At.After(w.Since) {
		w.Since = c.At
	}
	w.Cosigned = c.Size
	return err
}

// witnessNames lists who is asked for co-signatures, sorted.
func witnessNames(h *member.History, self string) (list []string) {
	for _, m := range h.Members() {
		if m.Name != self && h.InGoodStanding(m.Name) {
			list = append(list, m.Witness.Name())
		}
	}
	for _, w := range h.OutsideWitnesses() {
		list = append(list, w.Name)
	}
	slices.Sort(list)
	return list
}

// quorumAt is since when a quorum has co-signed at least once: the time of the quorum-th newest of their last co-signatures.
func quorumAt(list []store.Witness, quorum int) time.Time {
	times := make([]time.Time, 0, len(list))
	for _, w := range list {
		at := w.At
		if at.After(w.Asked) {
			at = w.Asked // its clock is ahead of ours, and must not make us patient
		}
		times = append(times, at)
	}
	slices.SortFunc(times, func(a, b time.Time) int { return b.Compare(a) })
	if quorum < 1 || quorum > len(times) {
		return time.Time{}
	}
	return times[quorum-1]
}

// founded tells when the charter was adopted. It is among the first leaves.
func founded(v *store.View) (time.Time, error) {
	leaves, err := v.Leaves(0, limit.Page)
	if err != nil {
		return time.Time{}, err
	}
	for _, raw := range leaves {
		l, err := statement.ParseLeaf(raw)
		if err != nil {
			return time.Time{}, err
		}
		if l.Kind == statement.EventCharter {
			return l.Time, nil
		}
	}
	return time.Time{}, nil
}

// patience is how long documents are exchanged without co-signatures of a quorum.
func (h *Home) patience(history *member.History) time.Duration {
	if h.Config.WitnessPatience > 0 {
		return time.Duration(h.Config.WitnessPatience)
	}
	good := 0
	for _, m := range history.Members() {
		if history.InGoodStanding(m.Name) {
			good++
		}
	}
	if good <= 2 {
		return limit.WitnessPatienceTwo
	}
	return limit.WitnessPatience
}

// mayExchange gives nil if documents may be handed in and delivered: our log signs, and a quorum co-signed it within witness_patience.
// Where it did not, the witnesses are asked once more before it says no. Who was cut off from the others may be the one who does not know
// that somebody was suspended. Receipts, checkpoints, charters and cards do not ask.
func (n *node) mayExchange(ctx context.Context) error {
	if err := n.Log.Stopped(); err != nil {
		return err
	}
	if err := n.rounds.lagging(); err != nil {
		return err
	}
	h, err := n.alliance(ctx)
	if err != nil {
		return err
	}
	patience := n.patience(h)
	reached := n.rounds.wait()
	since, err := n.rounds.since(ctx)
	if err != nil || n.now().Sub(since) <= patience {
		return err
	}
	waiting, done := context.WithCancel(ctx)
	defer done()
	n.rounds.hurry(waiting)
	timer := time.NewTimer(limit.WitnessHurry)
	defer timer.Stop()
	select {
	case <-reached:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return fault.New(fault.Transient, "see who answers with: entente audit witnesses", "no quorum of the other members has co-signed our log since %s, longer than witness_patience (%s) allows; documents wait until one does",
		since.UTC().Format(time.RFC3339), patience)
}

// since tells when a quorum last co-signed our log, as Witnessing.Since does.
func (r *rounds) since(ctx context.Context) (time.Time, error) {
	r.mu.Lock()
	last := r.last
	r.mu.Unlock()
	if !last.IsZero() {
		return last, nil
	}
	w, err := r.n.Witnessing(ctx)
	if err != nil {
		return last, err
	}
	return w.Since, nil
}

// lagging gives the error that others hold more of our log than we do, if they do.
func (r *rounds) lagging() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.behind
}
