package ententetest_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestOutsider runs a test of somebody else, in a module of its own that finds this one as the README says. With
// the race detector's flags in ENTENTE_OUTSIDER it runs that 20 times under it, as "make outsider" does.
func TestOutsider(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", goMod(t, root))
	write("go.sum", read(t, filepath.Join(root, "go.sum"))) // what we need they need, and the network may be away
	write("outsider_test.go", read(t, filepath.Join("testdata", "outsider", "outsider_test.go")))

	args := []string{"test", "-mod=mod", "-count=1", "."}
	if race := os.Getenv("ENTENTE_OUTSIDER"); race != "" {
		args = slices.Concat([]string{"test", "-mod=mod"}, strings.Fields(race), []string{"-count=20", "."})
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	if !bytes.HasPrefix(out, []byte("ok")) && !bytes.Contains(out, []byte("\nok")) {
		t.Fatalf("go %s ran no test:\n%s", strings.Join(args, " "), out)
	}
	t.Logf("go %s\n%s", strings.Join(args, " "), out)
}

// goMod makes the outsider's go.mod: our version of Go, and the two lines of the README, with the folder where we are.
func goMod(t *testing.T, root string) []byte {
	t.Helper()
	lines := regexp.MustCompile(`(?m)^(require entente\.example \S+)\n(replace entente\.example => )\S+$`).FindSubmatch(read(t, filepath.Join(root, "README.md")))
	version := regexp.MustCompile(`(?m)^go \S+$`).Find(read(t, filepath.Join(root, "go.mod")))
	if lines == nil || version == nil {
		t.Fatal("the README shows no replace line, or go.mod no version")
	}
	return bytes.Join([][]byte{[]byte("module outsider.example"), version, lines[1], append(lines[2], `"`+filepath.ToSlash(root)+`"`...), nil}, []byte("\n"))
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
