package node

import (
	"time"

	"entente.example/internal/statement"
)

// The steps of exchanges, as they stand in the log of the process and in the metrics. Those that record a fact are named like its leaf.
const (
	stepDelivering = "delivering" // an attempt to deliver begins
	stepCancelled  = "cancelled"  // somebody gave it up; the leaf is `expired`, as where the time is over
)

// stepped tells of one step of one exchange: a line in the log of the process, and one more in the metrics. m is the document's manifest, to
// its recipient; peer is the other side of the exchange. began is when the work on this step began, zero if it took none. more are further keys
// and values.
//
// docs/operating.md lists the keys. No line has content, a file name, a hash of plaintext, or a person.
func (n *node) stepped(step string, m *statement.Manifest, to, peer string, began time.Time, more ...any) {
	line := append(make([]any, 0, 16), "step", step, "exchange", ref(*m, to), "peer", peer)
	if m.Content.CiphertextSize > 0 { // nothing is sealed before it may be released
		line = append(line, "bytes", m.Content.CiphertextSize)
	}
	if !began.IsZero() {
		line = append(line, "took", time.Since(began))
	}
	n.metrics.Step(step, peer)
	n.log.Info("exchange", append(line, more...)...)
}

// refusedBy counts the rules by which something was refused here, each once.
func (n *node) refusedBy(reasons []statement.Reason) {
	for _, r := range reasons {
		n.metrics.Refused(r.Set, r.Rule)
	}
}
