package node

import (
	"context"
	"errors"

	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/metrics"
	"entente.example/internal/store"
)

// observe has the disks' work timed. The home must not be in use yet.
func (n *node) observe() {
	n.metrics = metrics.New(n.now, n.measure)
	n.DB.Observe(n.metrics.Committed)
	n.Blobs.Observe(n.metrics.BlobSynced)
	n.Log.Observe(n.metrics.HeadSynced)
}

// measure reads what there is, for whoever asks for the metrics. Package metrics sees to it that this is not done all the time.
func (n *node) measure() (metrics.State, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit.Scrape)
	defer cancel()
	s := metrics.State{PeerBytes: n.Config.PeerBytes}
	s.Head.Size, s.Head.At = n.Log.Head()
	s.Damaged, s.Checked = n.damage.count()
	err := n.DB.View(ctx, func(v *store.View) error {
		depths, err := v.Depths()
		for _, d := range depths {
			s.Outbox = append(s.Outbox, metrics.Waiting(d))
		}
		if err != nil {
			return err
		}
		return n.measureLog(v, &s)
	})
	if err != nil {
		return s, err
	}
	h, err := n.alliance(ctx)
	if fault.KindOf(err) == fault.NotFound {
		return s, nil // no alliance yet
	}
	if err != nil {
		return s, err
	}
	for _, m := range h.Members() {
		if m.Name == n.Config.Member {
			continue
		}
		err := n.DB.View(ctx, func(v *store.View) error {
			bytes, err := v.Held(m.Name)
			s.Stored = append(s.Stored, metrics.Stored{Peer: m.Name, Bytes: bytes})
			return err
		})
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

func (n *node) measureLog(v *store.View, s *metrics.State) (err error) {
	if s.Leaves, err = v.Size(); err != nil {
		return err
	}
	_, note, err := v.Checkpoint()
	if err == nil {
		c, bad := checkpoint.Open(note, checkpoint.Log{Ed25519: n.Keys.Log.Public, MLDSA: n.Keys.LogMLDSA.Public})
		s.Checkpoint, err = metrics.Mark{Size: c.Tree.N, At: c.Time}, bad
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	cosigned, err := v.NewestCosigned()
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	s.Cosigned = metrics.Mark{Size: cosigned.Size, At: cosigned.At}
	return err
}
