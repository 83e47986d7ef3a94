package node

import (
	"testing"
	"time"

	"entente.example/internal/limit"
)

// TestPace follows the pauses between rounds: short for who does one thing, longer while the log keeps growing, never long for who waits.
func TestPace(t *testing.T) {
	t.Parallel()
	var p pace
	now := time.Now()
	if left := p.left(now, false); left > 0 {
		t.Errorf("the first round waits for %v", left)
	}
	const least, most = limit.RoundPause, limit.RoundPauseMost
	for i, step := range []struct {
		grew           bool
		pause, awaited time.Duration
	}{
		{false, least, least}, {true, least, least}, {true, 2 * least, least}, {true, 4 * least, least}, {true, most, least}, {true, most, least},
		{false, least, least}, {true, least, least}, {false, least, least}, {false, least, least},
	} {
		p.ran(now, step.grew)
		if got, awaited := p.left(now, false), p.left(now, true); got != step.pause || awaited != step.awaited {
			t.Errorf("after round %d: %v, and %v for who waits", i, got, awaited)
		}
		now = now.Add(step.pause)
		if left := p.left(now, false); left > 0 {
			t.Errorf("after round %d and its pause: %v left", i, left)
		}
	}
}
