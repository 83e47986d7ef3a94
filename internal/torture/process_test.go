//go:build torture && linux

package torture_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a member's node in a process of its own, in a process group of its own, which ends with the test.
type process struct {
	member, program, home string
	log                   string // file; of all processes of the member, one after the other

	cmd   *exec.Cmd
	ready chan struct{} // closed when it serves, or has ended
	done  chan struct{} // closed when it has ended; nil if it was killed, or never started
	from  int64         // where its own part of the log begins
	last  int64         // how long the log was when it was searched last
	hit   time.Time     // when it was seen that it was struck; zero if not yet
	what  string        // by which plan
}

// errDied: the process ended before it served. If it was struck, that is as it should be.
var errDied = errors.New("it ended before it served")

// start starts the node with these settings in its environment, under the program in prefix, if any, and waits until it serves. While it was
// down, an outgoing connection may have been given one of its ports for a moment, and the kernel may still be closing what it had open when it was
// killed, the lock of its home for one, so it tries for a while.
func (p *process) start(prefix []string, env ...string) error {
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if err := p.launch(prefix, env...); err != nil {
			return err
		}
		<-p.ready
		if p.running() {
			return nil
		}
		said := p.said()
		switch {
		case p.struck() != "" || len(prefix) > 0:
			return errDied
		case !bytes.Contains(said, []byte("another program listens")) && !bytes.Contains(said, []byte("another node is using")) || time.Since(began) > 30*time.Second:
			return fmt.Errorf("%s does not start: %s", p.member, said[max(0, len(said)-600):])
		}
	}
}

// launch starts it once, and does not wait.
func (p *process) launch(prefix []string, env ...string) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	if p.from, err = log.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	p.last, p.hit, p.what = p.from, time.Time{}, ""
	args := append(append([]string{}, prefix...), p.program, "node", "--json", "--home", p.home)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	ready, out, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout = out
	if err := errors.Join(cmd.Start(), out.Close()); err != nil {
		return errors.Join(err, ready.Close())
	}
	p.cmd, p.ready, p.done = cmd, make(chan struct{}), make(chan struct{})
	go func(serves, done chan struct{}) {
		if n, _ := ready.Read(make([]byte, 1)); n == 1 {
			close(serves)
			_ = cmd.Wait()                    // how it ended, the log tells
			_, _ = io.Copy(io.Discard, ready) // under strace, which ends first, the node ends a moment later
		} else { // the end of the pipe: everybody who could write to it has ended
			_ = cmd.Wait()
			defer close(serves)
		}
		close(done)
		_ = ready.Close()
	}(p.ready, p.done)
	return nil
}

// running tells whether it runs, or is stopped.
func (p *process) running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) signal(s syscall.Signal) {
	if p.cmd != nil {
		_ = syscall.Kill(-p.cmd.Process.Pid, s)
	}
}

// kill ends it, and what it runs under, at once.
func (p *process) kill() {
	if p.done == nil {
		return
	}
	p.signal(syscall.SIGKILL)
	<-p.done
	p.done = nil
}

// freeze stops every thread of it, and waits until they are: a system call that a thread is in ends before.
func (p *process) freeze() error {
	p.signal(syscall.SIGSTOP)
	for began := time.Now(); p.running(); time.Sleep(time.Millisecond) {
		if p.frozen() {
			return nil
		}
		if time.Since(began) > 20*time.Second {
			return fmt.Errorf("%s does not stop", p.member)
		}
	}
	return nil
}

// frozen tells whether all its threads are stopped.
func (p *process) frozen() bool {
	stats, _ := filepath.Glob("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/task/*/stat") // the pattern is well formed
	for _, s := range stats {
		b, err := os.ReadFile(s)
		if err != nil {
			return false // it is changing
		}
		if state := b[bytes.LastIndexByte(b, ')')+2]; state != 'T' && state != 't' {
			return false
		}
	}
	return len(stats) > 0
}

// said gives what it has written to its log.
func (p *process) said() []byte {
	b, err := os.ReadFile(p.log)
	if err != nil || int64(len(b)) < p.from {
		return nil
	}
	return b[p.from:]
}

// struck gives the plan that has struck it, or "".
func (p *process) struck() string {
	info, err := os.Stat(p.log)
	if p.what != "" || err != nil || info.Size() == p.last {
		return p.what
	}
	p.last = info.Size()
	for line := range strings.Lines(string(p.said())) {
		if what, ok := strings.CutPrefix(strings.TrimSpace(line), "struck "); ok {
			p.what, p.hit = what, time.Now()
		}
	}
	return p.what
}
