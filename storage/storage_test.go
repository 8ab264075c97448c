package storage_test

import (
	"path/filepath"
	"testing"

	"sharefs/storage"
	"sharefs/storage/storagetest"
)

func TestSuiteOnADisk(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Place {
		return storagetest.Place{FS: storage.OS(), Dir: filepath.Join(t.TempDir(), "storage")}
	})
}
