package swift

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// cloud is one of the clouds of a clouds.yaml
// (https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html).
type cloud struct {
	Auth struct {
		AuthURL         string `yaml:"auth_url"`
		Username        string `yaml:"username"`
		UserID          string `yaml:"user_id"`
		Password        string `yaml:"password"`
		ProjectName     string `yaml:"project_name"`
		ProjectID       string `yaml:"project_id"`
		TenantName      string `yaml:"tenant_name"`
		TenantID        string `yaml:"tenant_id"`
		UserDomain      string `yaml:"user_domain_name"`
		UserDomainID    string `yaml:"user_domain_id"`
		ProjectDomain   string `yaml:"project_domain_name"`
		ProjectDomainID string `yaml:"project_domain_id"`
		Domain          string `yaml:"default_domain"`
		AppID           string `yaml:"application_credential_id"`
		AppName         string `yaml:"application_credential_name"`
		AppSecret       string `yaml:"application_credential_secret"`
		Token           string `yaml:"token"`
		TrustID         string `yaml:"trust_id"`
	} `yaml:"auth"`
	AuthType     string `yaml:"auth_type"`
	Region       string `yaml:"region_name"`
	Interface    string `yaml:"interface"`
	EndpointType string `yaml:"endpoint_type"`
	Version      string `yaml:"identity_api_version"`
	CACert       string `yaml:"cacert"`
	Verify       *bool  `yaml:"verify"`
	StorageURL   string `yaml:"object_store_endpoint_override"`
	Profile      string `yaml:"profile"`
	Vendor       string `yaml:"cloud"`
}

// fromClouds reads a cloud from clouds.yaml, and what secure.yaml adds to it.
func fromClouds(name string, env lookup) (access, error) {
	var c cloud
	found, err := readCloud(env("OS_CLIENT_CONFIG_FILE"), "clouds.yaml", name, &c)
	if err != nil {
		return access{}, err
	}
	if found == "" {
		return access{}, fmt.Errorf("the cloud %s: there is no clouds.yaml here, in %s or in %s; OS_CLIENT_CONFIG_FILE may name one", name, userClouds(), systemClouds)
	}
	if _, err := readCloud(env("OS_CLIENT_SECURE_FILE"), "secure.yaml", name, &c); err != nil {
		return access{}, err
	}
	a, err := c.access()
	if err != nil {
		err = fmt.Errorf("the cloud %s of %s: %w", name, found, err)
	}
	return a, err
}

const systemClouds = "/etc/openstack"

func userClouds() string {
	config, err := os.UserConfigDir()
	if err != nil {
		config = "~/.config" // for the message
	}
	return filepath.Join(config, "openstack")
}

// readCloud reads the first file of a name, and returns where it was; empty when there is none. One that is named must be there, and
// the cloud must be in clouds.yaml.
func readCloud(named, name, want string, into *cloud) (string, error) {
	places := []string{name, filepath.Join(userClouds(), name), filepath.Join(systemClouds, name)}
	if named != "" {
		places = []string{named}
	}
	for _, place := range places {
		text, err := os.ReadFile(place)
		if errors.Is(err, fs.ErrNotExist) && named == "" {
			continue
		}
		if err != nil {
			return "", err
		}
		var file struct {
			Clouds map[string]yaml.Node `yaml:"clouds"`
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			return "", fmt.Errorf("%s cannot be read: %s", place, plainYAML(err))
		}
		node, ok := file.Clouds[want]
		if !ok {
			if name == "secure.yaml" {
				return place, nil
			}
			return "", fmt.Errorf("%s has no cloud %s", place, want)
		}
		if err := node.Decode(into); err != nil {
			return "", fmt.Errorf("%s, cloud %s: %s", place, want, plainYAML(err))
		}
		return place, nil
	}
	return "", nil
}

// plainYAML says where a file is wrong, without the values that YAML's errors show.
func plainYAML(err error) string {
	text := err.Error()
	if at := strings.Index(text, "line "); at >= 0 {
		line, _, _ := strings.Cut(text[at:], ":")
		return "it is not as it should be at " + line
	}
	return "it is no YAML"
}

// access returns how to log in at the cloud.
func (c cloud) access() (access, error) {
	switch {
	case c.Profile != "" || c.Vendor != "":
		return access{}, fmt.Errorf("it rests on the vendor profile %s, which sharefs does not know: write auth_url and what else the profile holds into the cloud itself", cmp.Or(c.Profile, c.Vendor))
	case c.Verify != nil && !*c.Verify:
		return access{}, errors.New("verify: false would give the password to anybody: name the certificate of the cloud with cacert")
	}
	u := c.Auth
	a := access{
		AuthURL: u.AuthURL, Version: c.Version, User: u.Username, UserID: u.UserID, Key: u.Password,
		Project: cmp.Or(u.ProjectName, u.TenantName), ProjectID: cmp.Or(u.ProjectID, u.TenantID),
		UserDomain: cmp.Or(u.UserDomain, u.Domain), UserDomainID: u.UserDomainID,
		ProjectDomain: cmp.Or(u.ProjectDomain, u.Domain), ProjectDomainID: u.ProjectDomainID,
		AppID: u.AppID, AppName: u.AppName, AppSecret: u.AppSecret, Token: u.Token, TrustID: u.TrustID,
		StorageURL: c.StorageURL, Region: c.Region, EndpointType: strings.TrimSuffix(cmp.Or(c.Interface, c.EndpointType), "URL"), CACert: c.CACert,
	}
	switch kind := strings.TrimPrefix(c.AuthType, "v3"); kind {
	case "", "password", "token", "applicationcredential":
		if kind != c.AuthType {
			a.Version = "3"
		}
	case "v2password", "v2token":
		a.Version = "2"
	case "v1password":
		a.Version = "1"
	default:
		return access{}, fmt.Errorf("its auth_type is %s, of which sharefs knows password, token, v3password, v3token, v3applicationcredential, v2password and v1password", c.AuthType)
	}
	return a, nil
}
