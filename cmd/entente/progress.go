package main

import (
	"os"
	"time"

	"github.com/charmbracelet/x/term"
	"github.com/schollz/progressbar/v3"
)

// bar shows how far a transfer has come: on stderr, on a terminal, and only if it takes long enough to be wondered about.
// A nil bar shows nothing.
type bar struct{ b *progressbar.ProgressBar }

const worthABar = 4 << 20

func (p *program) progress(length int64, what string) *bar {
	if p.json || length < worthABar || !term.IsTerminal(os.Stderr.Fd()) {
		return nil
	}
	return &bar{progressbar.NewOptions64(length,
		progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription(what), progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetPredictTime(true),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30), progressbar.OptionSetElapsedTime(false))}
}

func (b *bar) add(n int) {
	if b != nil {
		_ = b.b.Add(n)
	}
}

// set says how far it is after beginning again.
func (b *bar) set(n int64) {
	if b != nil {
		_ = b.b.Set64(n)
	}
}

// done takes the bar away.
func (b *bar) done() {
	if b != nil {
		_ = b.b.Clear()
		_ = b.b.Exit()
	}
}
