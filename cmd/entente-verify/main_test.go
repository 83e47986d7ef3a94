package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"entente.example/internal/evidence"
)

// The example of docs/formats/evidence.md, which a test of internal/evidence makes, and the hash of its alliance's charter.
func example(t *testing.T) (file, charter string) {
	t.Helper()
	raw, err := os.ReadFile("../../internal/evidence/testdata/example.txt")
	if err != nil {
		t.Fatal(err)
	}
	b, err := evidence.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "evidence.txt")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, b.Charter.String()
}

// The program is static, under 8 MB, and links nothing that could reach a network.
func TestBuilt(t *testing.T) {
	t.Parallel()
	deps, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"net", "net/http", "crypto/tls", "crypto/x509", "os/exec", "plugin"} {
		if slices.Contains(strings.Fields(string(deps)), bad) {
			t.Errorf("it links %s", bad)
		}
	}
	program := filepath.Join(t.TempDir(), "entente-verify")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= 8<<20 {
		t.Errorf("it has %d bytes", info.Size())
	}
	t.Logf("%d bytes", info.Size())
	// In an empty folder, without an environment, the file and the hash are enough.
	file, charter := example(t)
	for _, c := range []struct {
		args []string
		code int
	}{{[]string{file, "--charter", charter}, exitValid}, {[]string{file}, exitInvalid}, {[]string{"--charter", charter}, exitMisused}} {
		cmd := exec.Command(program, c.args...)
		cmd.Dir, cmd.Env = t.TempDir(), []string{}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != c.code {
			t.Errorf("%v: %v, want exit code %d\n%s", c.args, err, c.code, out)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	file, charter := example(t)
	other := strings.Repeat("ab", 32)
	document := filepath.Join(t.TempDir(), "report.txt")
	if err := os.WriteFile(document, []byte("All quiet in the harbour.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	huge := filepath.Join(t.TempDir(), "huge")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 10<<30); err != nil { // sparse
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		args  []string
		stdin []byte
		code  int
		says  string // in its output, on either stream
	}{
		{"valid", []string{file, "--charter", charter}, nil, exitValid, "VALID: evidence about a document from alpha to bravo"},
		{"flags first", []string{"--charter", charter, file}, nil, exitValid, "as of charter 1"},
		{"standard input", []string{"-", "--charter", charter}, raw, exitValid, "witnessed since"},
		{"the document", []string{file, "--charter", charter, "--document", document, "--media-type", "text/plain"}, nil, exitValid, "is exactly what alpha committed to"},
		{"the document, its type taken from its name", []string{file, "--charter", charter, "--document", document}, nil, exitValid, "is exactly what alpha committed to"},
		{"another type", []string{file, "--charter", charter, "--document", document, "--media-type", "text/html"}, nil, exitInvalid, "as report.txt of type text/html"},
		{"another name", []string{file, "--charter", charter, "--document", document, "--name", "x.txt", "--media-type", "text/plain"}, nil, exitInvalid, "NOT VALID"},
		{"no document there", []string{file, "--charter", charter, "--document", document + "x"}, nil, exitInvalid, "cannot be read"},
		{"no hash", []string{file}, nil, exitInvalid, "The file names the founding charter " + charter},
		{"another hash", []string{file, "--charter", other}, nil, exitInvalid, "NOT VALID"},
		{"half a hash", []string{file, "--charter", charter[:32]}, nil, exitMisused, "wrong usage"},
		{"no file", nil, nil, exitMisused, "wrong usage"},
		{"two files", []string{file, file}, nil, exitMisused, "wrong usage"},
		{"unknown flag", []string{file, "--trust-me"}, nil, exitMisused, "wrong usage"},
		{"a name without a document", []string{file, "--name", "x"}, nil, exitMisused, "wrong usage"},
		{"a folder", []string{t.TempDir(), "--charter", charter}, nil, exitInvalid, "cannot be read"},
		{"nothing there", []string{file + "x", "--charter", charter}, nil, exitInvalid, "cannot be read"},
		{"10 GB", []string{huge, "--charter", charter}, nil, exitInvalid, "has 10737418240 bytes"},
		{"too much on standard input", []string{"-", "--charter", charter}, make([]byte, 17<<20), exitInvalid, "more than"},
		{"empty", []string{"-", "--charter", charter}, nil, exitInvalid, "NOT VALID"},
		{"cut off", []string{"-", "--charter", charter}, raw[:len(raw)/2], exitInvalid, "NOT VALID"},
		{"help", []string{"--help"}, nil, exitValid, "Exit codes"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(c.args, bytes.NewReader(c.stdin), &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String()+stderr.String(), c.says) {
			t.Errorf("%s: exit code %d, want %d and %q\n%s%s", c.name, code, c.code, c.says, &stdout, &stderr)
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	file, charter := example(t)
	for _, c := range []struct {
		args  []string
		valid bool
	}{{[]string{file, "--charter", charter, "--json"}, true}, {[]string{file, "--json"}, false}} {
		var stdout bytes.Buffer
		run(c.args, nil, &stdout, os.Stderr)
		var v evidence.Verdict
		if err := json.Unmarshal(stdout.Bytes(), &v); err != nil || v.Valid != c.valid || (len(v.Claims) > 0) != c.valid {
			t.Errorf("%v: %v\n%s", c.args, err, &stdout)
		}
	}
}

// A result that cannot be printed is no success.
func TestPrintFails(t *testing.T) {
	t.Parallel()
	file, charter := example(t)
	if code := run([]string{file, "--charter", charter}, nil, full{}, os.Stderr); code != exitInvalid {
		t.Errorf("exit code %d", code)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, os.ErrClosed }
