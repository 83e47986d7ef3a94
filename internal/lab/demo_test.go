package lab_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"entente.example/internal/lab"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var steps []string
	err := lab.Demo{Dir: dir, Told: func(s lab.Step) {
		t.Logf("%-8s %v %s", s.Name, s.OK, s.Text)
		steps = append(steps, s.Name)
	}}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) != 9 {
		t.Errorf("steps %v", steps)
	}
	got, err := os.ReadFile(filepath.Join(dir, "opened", lab.IncidentReportName))
	if err != nil || !bytes.Equal(got, lab.IncidentReport) {
		t.Errorf("opened document differs: %v", err)
	}
}
