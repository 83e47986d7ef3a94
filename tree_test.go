// Package entente_test checks the shape of the source tree: who may import
// whom, that every package says what it is, that what an auditor must trust
// cannot reach a network, and that no secret was committed.
package entente_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "entente.example"

// diagram is the import diagram, as docs/design.md shows it too: each package
// of the module with the packages of the module that it may import. Nothing
// follows from anything else here: an import that is not written down is not
// allowed. Two things hold for everybody and are left out: anyone may import the
// packages in everybodys, and tests may also import those in testOnly.
//
// A new package needs a line here and there; think first about what it may know.
var diagram = map[string][]string{
	"proto/entente/v1": {},

	"internal/limit":      {},
	"internal/crash":      {},
	"internal/memo":       {},
	"internal/durable":    {},
	"internal/statement":  {},
	"internal/fault":      {"internal/statement"},
	"internal/checkpoint": {"internal/statement"},
	"internal/member":     {"internal/statement"},
	"internal/policy":     {"internal/statement", "internal/member"},
	"internal/evidence":   {"internal/statement", "internal/checkpoint", "internal/member", "internal/policy"},
	"internal/report":     {"internal/statement"},
	"internal/seal":       {"internal/statement"},
	"internal/store":      {"internal/statement", "internal/store/sqlc"},
	"internal/store/sqlc": {},
	// audit verifies rows as they stand, so it sees them as the queries give them.
	"internal/audit":    {"internal/statement", "internal/checkpoint", "internal/policy", "internal/member", "internal/store", "internal/store/sqlc"},
	"internal/identity": {"internal/fault", "internal/statement", "internal/checkpoint", "internal/member"},
	"internal/metrics":  {},
	"internal/rpc":      {"proto/entente/v1", "internal/statement", "internal/member", "internal/identity", "internal/metrics"},
	"internal/node": {
		"proto/entente/v1", "internal/statement", "internal/checkpoint", "internal/member", "internal/policy",
		"internal/evidence", "internal/seal", "internal/report", "internal/store", "internal/audit", "internal/identity", "internal/metrics", "internal/rpc",
	},
	"internal/client": {"proto/entente/v1", "internal/identity", "internal/rpc"},
	"internal/bench": {
		"proto/entente/v1", "internal/statement", "internal/member", "internal/policy", "internal/seal", "internal/store", "internal/node", "internal/client",
	},
	"internal/console": {"proto/entente/v1", "internal/rpc"},
	"internal/lab": {
		"proto/entente/v1", "internal/statement", "internal/member", "internal/store",
		"internal/audit", "internal/checkpoint", "internal/identity", "internal/rpc", "internal/node", "internal/client", "internal/console",
	},
	"internal/torture": {"proto/entente/v1"}, // only tests, which run the program
	"ententetest":      {"proto/entente/v1", "internal/lab"},

	"cmd/entente":        {everything},
	"cmd/entente-verify": {"internal/evidence", "internal/statement"},
}

// everything, in the diagram, allows every package of the module.
const everything = "*"

// everybodys may be imported by anyone: the bounds, the error that a person
// sees, files that a crash leaves whole, the names of the steps at which tests
// crash, and what is remembered because it cannot become wrong.
var everybodys = []string{"internal/limit", "internal/fault", "internal/durable", "internal/crash", "internal/memo"}

// testOnly may be imported by the tests of any package: whole alliances to test
// against. In other code only the diagram's own arrows lead to them.
var testOnly = []string{"internal/lab", "internal/client", "ententetest"}

// noNetwork are the packages that must not reach package net, not even through
// what they import: the judgement that an auditor must trust, and the program
// that verifies evidence offline (promise P12).
var noNetwork = []string{
	"internal/limit", "internal/statement", "internal/checkpoint", "internal/fault", "internal/member", "internal/policy",
	"internal/evidence", "internal/report", "cmd/entente-verify",
}

// source is one package of the module, with its files on every platform.
type source struct {
	name  string // import path below the module; "" is the root
	dir   string
	files []string // other than tests
	tests []string
}

// TestImportsFollowTheDiagram looks at every file, also at those that another
// operating system would compile.
func TestImportsFollowTheDiagram(t *testing.T) {
	for _, pkg := range packages(t) {
		if pkg.name == "" {
			continue // the root holds this test and nothing else
		}
		arrows, ok := diagram[pkg.name]
		if !ok {
			t.Errorf("%s: not in the import diagram of tree_test.go", pkg.name)
			continue
		}
		for _, file := range pkg.files {
			for _, imported := range moduleImports(t, pkg, file) {
				if !allowed(arrows, imported) {
					t.Errorf("%s/%s imports %s: no arrow in the import diagram", pkg.name, file, imported)
				}
			}
		}
		for _, file := range pkg.tests {
			for _, imported := range moduleImports(t, pkg, file) {
				// An external test imports the package it tests.
				if imported != pkg.name && !slices.Contains(testOnly, imported) && !allowed(arrows, imported) {
					t.Errorf("%s/%s imports %s: no arrow in the import diagram, for tests neither", pkg.name, file, imported)
				}
			}
		}
	}
}

// TestDiagramHasNoCycle keeps the diagram itself sound: a cycle could not be
// compiled, and an arrow to an unknown package is a slip of the pen.
func TestDiagramHasNoCycle(t *testing.T) {
	const visiting, done = 1, 2
	state := map[string]int{}
	var visit func(name string)
	visit = func(name string) {
		switch state[name] {
		case done:
			return
		case visiting:
			t.Errorf("the import diagram has a cycle through %s", name)
			return
		}
		state[name] = visiting
		for _, to := range diagram[name] {
			if _, ok := diagram[to]; !ok && to != everything {
				t.Errorf("the import diagram leads from %s to %s, which has no line", name, to)
			}
			visit(to)
		}
		state[name] = done
	}
	for _, name := range slices.Sorted(maps.Keys(diagram)) {
		visit(name)
	}
}

// TestDiagramIsDocumented compares the diagram with the one that people read,
// line by line.
func TestDiagramIsDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("docs", "design.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, opened := strings.Cut(string(doc), "\n```text\n")
	block, _, closed := strings.Cut(rest, "```\n")
	if !opened || !closed {
		t.Fatal("docs/design.md has no diagram between ```text and ```")
	}
	line := func(name string, imports []string) string {
		if len(imports) == 0 {
			imports = []string{"nothing"}
		}
		return fmt.Sprintf("%-20s→ %s\n", name, strings.Join(slices.Sorted(slices.Values(imports)), " "))
	}
	var want strings.Builder
	for _, name := range slices.Sorted(maps.Keys(diagram)) {
		want.WriteString(line(name, diagram[name]))
	}
	want.WriteString(line("everybody also", everybodys))
	want.WriteString(line("all tests also", testOnly))
	if block != want.String() {
		t.Errorf("docs/design.md shows another import diagram:\n%s\nwant:\n%s", block, &want)
	}
}

// TestEveryPackageSaysWhatItIs wants a package comment in the usual form. For
// generated packages it stands in the .proto file, or in a doc.go beside them.
func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, pkg := range packages(t) {
		files := pkg.files
		if len(files) == 0 {
			files = pkg.tests
		}
		documented := slices.ContainsFunc(files, func(file string) bool {
			doc := parse(t, pkg, file).Doc
			return doc != nil && strings.TrimSpace(doc.Text()) != ""
		})
		if !documented {
			t.Errorf("%s/%s: no package comment", module, pkg.name)
		}
	}
}

// TestAuditorsTrustNoNetwork asks the go command for all that the packages of
// noNetwork import, however indirectly.
func TestAuditorsTrustNoNetwork(t *testing.T) {
	checked := 0
	for _, pkg := range packages(t) {
		if !slices.Contains(noNetwork, pkg.name) || len(pkg.files) == 0 {
			continue
		}
		checked++
		for imported := range strings.Lines(string(goList(t, "-deps", module+"/"+pkg.name))) {
			if strings.TrimSpace(imported) == "net" {
				t.Errorf("%s reaches package net; find the way with: go list -deps -f '{{.ImportPath}}: {{.Imports}}' ./%s", pkg.name, pkg.name)
			}
		}
	}
	if checked == 0 {
		t.Error("none of the packages that must not reach a network was found")
	}
}

// keysAllowed are the folders whose test vectors contain private keys on
// purpose. Such keys are made for the vector and used nowhere else.
var keysAllowed = []string{
	"internal/seal/testdata/",
	"internal/statement/testdata/",
}

// privateKeys are the forms in which a private key is written in a file: PEM,
// age (classic and hybrid), and signed notes. They demand what follows the
// marker as well, so that prose and this file may name it.
var privateKeys = regexp.MustCompile(`(?m)^[ \t]*-----BEGIN [A-Z ]*PRIVATE KEY-----\r?$` +
	`|AGE-SECRET-KEY-(PQ-)?1[0-9A-Z]{20}` +
	`|PRIVATE\+KEY\+[^+\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{20}`)

// tracked lists the files that git tracks; in a copy of the tree without git, all files.
func tracked(t *testing.T) []string {
	if list, err := exec.Command("git", "ls-files", "-z").Output(); err == nil {
		return strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00")
	}
	var files []string
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			files = append(files, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestNoSecretIsCommitted reads every file that git tracks.
func TestNoSecretIsCommitted(t *testing.T) {
	files := tracked(t)
	for _, file := range files {
		if slices.ContainsFunc(keysAllowed, func(dir string) bool { return strings.HasPrefix(file, dir) }) {
			continue
		}
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed in the work tree, not committed yet
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if at := privateKeys.FindIndex(content); at != nil {
			t.Errorf("%s:%d: a private key", file, 1+bytes.Count(content[:at[0]], []byte("\n")))
		}
	}
}

// TestPrivateKeysAreRecognised keeps TestNoSecretIsCommitted able to fail.
func TestPrivateKeysAreRecognised(t *testing.T) {
	dashes := strings.Repeat("-", 5)
	for _, secret := range []string{
		dashes + "BEGIN PRIVATE KEY" + dashes + "\nMC4CAQAw\n",
		"key = \"\"\"\n" + dashes + "BEGIN EC PRIVATE KEY" + dashes + "\r\nMHcC\r\n",
		"AGE-SECRET-" + "KEY-1" + strings.Repeat("Q", 58),
		"AGE-SECRET-" + "KEY-PQ-1" + strings.Repeat("Q", 58),
		"PRIVATE+" + "KEY+alpha/log/1+0123abcd+" + strings.Repeat("A", 44),
	} {
		if !privateKeys.MatchString(secret) {
			t.Errorf("not recognised as a private key: %q", secret)
		}
	}
	for _, harmless := range []string{
		"a line BEGIN PRIVATE KEY in prose", "AGE-SECRET-" + "KEY-1 is how one begins", dashes + "BEGIN CERTIFICATE" + dashes,
	} {
		if privateKeys.MatchString(harmless) {
			t.Errorf("taken for a private key: %q", harmless)
		}
	}
}

// allowed says whether a package with these arrows may import the named one.
func allowed(arrows []string, imported string) bool {
	return slices.Contains(everybodys, imported) || slices.Contains(arrows, everything) || slices.Contains(arrows, imported)
}

// packages returns the packages of the module, without the root's own path
// in front of their names.
func packages(t *testing.T) []source {
	t.Helper()
	const fields = "-json=ImportPath,Dir,GoFiles,CgoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles"
	var all []source
	decoder := json.NewDecoder(bytes.NewReader(goList(t, "-e", fields, "./...")))
	for {
		var p struct {
			ImportPath, Dir                                              string
			GoFiles, CgoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		pkg := source{name: strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/"), dir: p.Dir}
		for _, file := range slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles, p.TestGoFiles, p.XTestGoFiles) {
			if strings.HasSuffix(file, "_test.go") {
				pkg.tests = append(pkg.tests, file)
			} else {
				pkg.files = append(pkg.files, file)
			}
		}
		all = append(all, pkg)
	}
	if len(all) < 2 {
		t.Fatalf("go list found %d packages; is this the root of the module?", len(all))
	}
	return all
}

func goList(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	return out
}

// moduleImports returns what one file imports from this module, as names below
// the module's path.
func moduleImports(t *testing.T, pkg source, file string) []string {
	t.Helper()
	var names []string
	for _, spec := range parse(t, pkg, file).Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(fmt.Errorf("%s/%s: %w", pkg.dir, file, err))
		}
		if name, ok := strings.CutPrefix(path, module+"/"); ok {
			names = append(names, name)
		}
	}
	return names
}

func parse(t *testing.T, pkg source, file string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(pkg.dir, file), nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
