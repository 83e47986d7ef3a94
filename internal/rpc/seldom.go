package rpc

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"entente.example/internal/limit"
)

// Seldom writes lines about what others cause, at most two for each subject in limit.LogPause: the first at once, and at the end the newest,
// with the number of those that were left out. So a flood fills no disk, and is seen all the same. It may be used concurrently.
type Seldom struct {
	log *slog.Logger
	mu  sync.Mutex
	on  map[string]*subject // of the current pauses, at most limit.LogSubjects and the one for the rest
}

// subject is what a line is about. What is in it is the newest line that was left out.
type subject struct {
	level slog.Level
	text  string
	args  []any
	left  int
}

// NewSeldom makes one that writes to a log.
func NewSeldom(log *slog.Logger) *Seldom { return &Seldom{log: log, on: map[string]*subject{}} }

// Write writes a line now, or at the end of the pause.
func (s *Seldom) Write(level slog.Level, text, about string, args ...any) {
	if s.first(level, text, about, args) {
		s.log.Log(context.Background(), level, text, args...)
	}
}

// first tells whether the line is to be written now.
func (s *Seldom) first(level slog.Level, text, about string, args []any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	on := s.on[about]
	if on == nil && len(s.on) >= limit.LogSubjects {
		about = "the rest"
		on = s.on[about]
	}
	if on != nil {
		on.level, on.text, on.args, on.left = level, text, args, on.left+1
		return false
	}
	s.on[about] = &subject{}
	time.AfterFunc(limit.LogPause, func() { s.end(about) })
	return true
}

// end ends a pause. One in which something was left out is followed by another.
func (s *Seldom) end(about string) {
	s.mu.Lock()
	on := s.on[about]
	delete(s.on, about)
	if on.left > 0 {
		s.on[about] = &subject{}
		time.AfterFunc(limit.LogPause, func() { s.end(about) })
	}
	s.mu.Unlock()
	if on.left > 0 {
		s.log.Log(context.Background(), on.level, on.text, append(on.args, "alike", on.left)...)
	}
}
