package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Command is a process to be, whose output is read here.
type Command = exec.Cmd

// process is a process of the program that has said it is ready.
type process struct {
	cmd    *Command
	ended  chan error // gets what Wait gave, once
	stderr *tail
}

// stopWait is how long a process has to end in order.
const stopWait = 20 * time.Second

// start starts a process and reads the one line of JSON that it prints when it is ready.
func start(ctx context.Context, cmd *Command, ready any) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan error, 1), stderr: &tail{}}
	cmd.Stderr, cmd.Cancel, cmd.WaitDelay = p.stderr, func() error { return interrupt(cmd.Process) }, stopWait
	out, in, err := os.Pipe() // not StdoutPipe, which Wait closes while it may still be read
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout = in
	if err := errors.Join(cmd.Start(), in.Close()); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Args, err)
	}
	go func() { p.ended <- cmd.Wait() }()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, ready)
	}
	if err == nil {
		return p, nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	_ = p.stop() // it has not done what it was started for, whatever it says now
	return nil, fmt.Errorf("start %v: %w\n%s", cmd.Args[1:], err, p.stderr)
}

// stop asks the process to end, and waits for that.
func (p *process) stop() error {
	if err := interrupt(p.cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = p.cmd.Process.Kill()
	}
	if err := p.wait(); err != nil && inOrder {
		return err
	}
	return nil
}

// wait waits until the process, which has no more to do, has ended.
func (p *process) wait() error {
	select {
	case err := <-p.ended:
		if err != nil {
			return fmt.Errorf("%v: %w\n%s", p.cmd.Args[1:], err, p.stderr)
		}
		return nil
	case <-time.After(stopWait):
		_ = p.cmd.Process.Kill()
		return errors.Join(fmt.Errorf("%v did not end", p.cmd.Args[1:]), <-p.ended)
	}
}

// tail keeps the end of what is written to it. Only the process's copying goroutine writes, and it is read when that has ended.
type tail struct{ kept []byte }

const tailSize = 4 << 10

// Write keeps the end.
func (t *tail) Write(b []byte) (int, error) {
	t.kept = append(t.kept, b...)
	if over := len(t.kept) - tailSize; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string { return string(bytes.TrimSpace(t.kept)) }
