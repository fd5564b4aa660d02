{{/* The chart's name in names and labels. */}}
{{- define "partner-bridge.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
The full name of the release, at most 63 characters.
With a suffix the name in front of it is cut, so that names never end in half a suffix and stay different.
Arguments: the root; or a dict of `root`, `suffix`, and `most`, where Kubernetes itself appends to the name: what is
cut for that is told apart by a hash.
*/}}
{{- define "partner-bridge.fullname" -}}
{{- $root := .root | default . -}}
{{- $suffix := "" -}}
{{- with .suffix }}{{ $suffix = printf "-%s" . }}{{ end -}}
{{- $name := include "partner-bridge.name" $root -}}
{{- $full := $root.Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = ternary $root.Release.Name (printf "%s-%s" $root.Release.Name $name) (contains $name $root.Release.Name) -}}
{{- end -}}
{{- $room := int (sub (.most | default 63) (len $suffix)) -}}
{{- if and .most (gt (len $full) $room) -}}
{{- $suffix = printf "-%s%s" ($full | sha256sum | trunc 8) $suffix -}}
{{- $room = int (sub $room 9) -}}
{{- end -}}
{{- printf "%s%s" ($full | trunc $room | trimSuffix "-") $suffix -}}
{{- end -}}

{{/* The Service's name: the full name where Kubernetes takes it, which wants a letter first and no dots. */}}
{{- define "partner-bridge.serviceName" -}}
{{- $name := include "partner-bridge.fullname" . | replace "." "-" -}}
{{- regexMatch "^[a-z]" $name | ternary $name (printf "bridge-%s" $name) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "partner-bridge.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* Not empty if `image.repository` has a registry in it. */}}
{{- define "partner-bridge.repositoryHasRegistry" -}}
{{- if regexMatch "^([^/]*[.:][^/]*|localhost)/" .Values.image.repository }}it has{{ end -}}
{{- end -}}

{{/* The image: with the registry of the parent chart, if it says one for all. */}}
{{- define "partner-bridge.image" -}}
{{- $image := .Values.image -}}
{{- $registry := .Values.global.imageRegistry -}}
{{- if not (or $registry (include "partner-bridge.repositoryHasRegistry" .)) }}{{ $registry = $image.registry }}{{ end -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end -}}
{{- end -}}

{{/* The names of `global.imagePullSecrets`, which other charts write as texts or as objects, and of our own. */}}
{{- define "partner-bridge.pullSecrets" -}}
{{- $secrets := list -}}
{{- range concat (.Values.global.imagePullSecrets | default list) .Values.image.pullSecrets -}}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) -}}
{{- end -}}
{{- with $secrets | uniq }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- define "partner-bridge.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "partner-bridge.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* A duration of the configuration (`500ms`, `25s`, `2m`, `1h`) as seconds. */}}
{{- define "partner-bridge.seconds" -}}
{{- $number := regexFind "^[0-9.]+" . | float64 -}}
{{- $unit := regexReplaceAll "^[0-9.]+" . "" -}}
{{- mulf $number (get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0) $unit) -}}
{{- end -}}

{{/* The port of health and metrics. */}}
{{- define "partner-bridge.port" -}}
{{- dig "http" "port" 8080 .Values.config | int -}}
{{- end -}}

{{/* The port of a URL: the one that it names, or that of its scheme. */}}
{{- define "partner-bridge.portOf" -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" (urlParse .).host) | default (ternary "443" "80" (hasPrefix "https:" .)) -}}
{{- end -}}

{{/*
A value as YAML, with numbers in full: Helm reads every number as floating point, and writes a million as 1e+06.
Mappings and lists are nested by indentation, everything else is JSON, which is YAML.
Arguments: a dict of `value` (a mapping) and `indent`, a text of blanks.
*/}}
{{- define "partner-bridge.yaml" -}}
{{- $indent := .indent -}}
{{- range $key, $value := .value }}
{{- if and (kindIs "map" $value) $value }}
{{ $indent }}{{ include "partner-bridge.yamlKey" $key }}:
{{- include "partner-bridge.yaml" (dict "value" $value "indent" (printf "%s  " $indent)) }}
{{- else }}
{{ $indent }}{{ include "partner-bridge.yamlKey" $key }}: {{ toRawJson $value }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "partner-bridge.yamlKey" -}}
{{ regexMatch "^[a-z][a-zA-Z0-9_.-]*$" . | ternary . (toJson .) }}
{{- end -}}

{{/*
The files of the ConfigMap. A file of the user's is there as it is, written as JSON: blanks at its beginning would
say something else in a block of YAML.
*/}}
{{- define "partner-bridge.files" -}}
bridge.yaml: |
  # Written by Helm from the chart's value `config`.
  {{- include "partner-bridge.yaml" (dict "value" .Values.config "indent" "  ") }}
{{- range $name, $content := .Values.files }}
{{ toRawJson $name }}: {{ toRawJson $content }}
{{- end }}
{{- end -}}

{{/*
What `secrets` gives to the pods, as a list under `groups`: each with its section in `config`, and as `settings` and
`files` what comes from where: a setting, the `secret` or `configMap` with its value, and the `key` in that. One place,
so that environment, volumes, mounts and KEDA agree.
*/}}
{{- define "partner-bridge.secrets" -}}
{{- $groups := list -}}
{{- range $group, $section := dict "kafka" "kafka" "schemaRegistry" "schema_registry" "eventbridge" "eventbridge" "http" "http" -}}
{{- $values := index $.Values.secrets $group -}}
{{- $entry := dict "name" (kebabcase $group) "section" $section -}}
{{- range $kind := list "settings" "files" -}}
{{- $taken := list -}}
{{- range $setting, $from := index $values $kind -}}
{{- if kindIs "string" $from }}{{ $from = dict "secret" $values.existingSecret "key" $from }}{{ end -}}
{{- $taken = append $taken (merge (dict "setting" $setting) $from) -}}
{{- end -}}
{{- $_ := set $entry $kind $taken -}}
{{- end -}}
{{- $groups = append $groups $entry -}}
{{- end -}}
{{- toJson (dict "groups" $groups) -}}
{{- end -}}

{{/* The environment variable of a setting. Arguments: a dict of `section` and `setting`. */}}
{{- define "partner-bridge.variable" -}}
{{- $between := ternary "_" "__" (eq .section "kafka") -}}
BRIDGE_{{ .section | upper }}__{{ .setting | upper | replace "." $between | replace "-" "_" }}
{{- end -}}

{{- define "partner-bridge.ownEnv" -}}
- name: BRIDGE_CONFIG
  value: /etc/partner-bridge/bridge.yaml
{{- range $group := (include "partner-bridge.secrets" . | fromJson).groups }}
{{- range $group.settings }}
- name: {{ include "partner-bridge.variable" (dict "section" $group.section "setting" .setting) }}
  valueFrom:
    {{ hasKey . "configMap" | ternary "configMapKeyRef" "secretKeyRef" }}:
      name: {{ .configMap | default .secret | quote }}
      key: {{ .key | quote }}
{{- end }}
{{- range $group.files }}
- name: {{ include "partner-bridge.variable" (dict "section" $group.section "setting" .setting) }}
  value: /etc/partner-bridge-secrets/{{ $group.name }}/{{ .setting }}
{{- end }}
{{- end }}
{{- if .Values.pauses.enabled }}
- name: BRIDGE_PAUSES
  value: /etc/partner-bridge-pauses/pauses.yaml
{{- end }}
{{- if not .Values.page.enabled }}
- name: BRIDGE_HTTP__PAGE
  value: "false"
{{- end }}
{{- if and .Values.prometheusRule.runbookUrl (not (dig "http" "runbook_url" "" .Values.config)) }}
- name: BRIDGE_HTTP__RUNBOOK_URL
  value: {{ .Values.prometheusRule.runbookUrl | quote }}
{{- end }}
{{- end -}}

{{/*
The environment, each name once: what `extraEnv` has wins. Kubernetes would take the last of two, but an upgrade merges
them by name, and a server-side apply refuses them.
*/}}
{{- define "partner-bridge.env" -}}
{{- $names := list -}}
{{- range .Values.extraEnv }}{{ $names = append $names .name }}{{ end -}}
{{- $env := list -}}
{{- range include "partner-bridge.ownEnv" . | fromYamlArray -}}
{{- if not (has .name $names) }}{{ $env = append $env . }}{{ end -}}
{{- end -}}
{{- concat $env (.Values.extraEnv | default list) | toYaml -}}
{{- end -}}

{{/*
A pod of the bridge: the Deployment, the Jobs and the test differ in arguments and in what only a running bridge
needs, and in nothing else; so all of them have the same identity, secrets and configuration.
Arguments: a dict of `root`, `args`, and `runs`, which is true for the Deployment.
*/}}
{{- define "partner-bridge.podSpec" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
serviceAccountName: {{ include "partner-bridge.serviceAccountName" $root | toYaml }}
automountServiceAccountToken: {{ $values.automountServiceAccountToken }}
enableServiceLinks: false
{{- with include "partner-bridge.pullSecrets" $root }}
imagePullSecrets:
  {{- . | nindent 2 }}
{{- end }}
{{- with $values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .runs }}
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
{{- else }}
restartPolicy: Never
{{- end }}
{{- range $field := list "priorityClassName" "runtimeClassName" "schedulerName" "dnsPolicy" "dnsConfig" "hostAliases" "nodeSelector" "tolerations" "affinity" }}
{{- with index $values $field }}
{{ dict $field . | toYaml }}
{{- end }}
{{- end }}
{{- if and .runs $values.topologySpreadConstraints }}
{{- $selector := include "partner-bridge.selectorLabels" (dict "root" $root "component" "bridge") | fromYaml }}
{{- $filled := dict "labelSelector" (dict "matchLabels" $selector) "matchLabelKeys" (list "pod-template-hash") }}
topologySpreadConstraints:
  {{- range $values.topologySpreadConstraints }}
  {{- $constraint := deepCopy . }}
  {{- range $key, $value := $filled }}
  {{- if not (hasKey $constraint $key) }}{{ $_ := set $constraint $key $value }}{{ end }}
  {{- end }}
  {{- list $constraint | toYaml | nindent 2 }}
  {{- end }}
{{- end }}
{{- with $values.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: partner-bridge
    image: {{ include "partner-bridge.image" $root | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    {{- with .args }}
    args:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $values.securityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    env:
      {{- include "partner-bridge.env" $root | nindent 6 }}
    {{- with $values.envFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if .runs }}
    ports:
      - name: http
        containerPort: {{ include "partner-bridge.port" $root }}
    startupProbe:
      httpGet:
        path: /livez
        port: http
      {{- with $values.probes.startup }}{{ toYaml . | nindent 6 }}{{ end }}
    livenessProbe:
      httpGet:
        path: /livez
        port: http
      {{- with $values.probes.liveness }}{{ toYaml . | nindent 6 }}{{ end }}
    readinessProbe:
      httpGet:
        path: /readyz
        port: http
      {{- with $values.probes.readiness }}{{ toYaml . | nindent 6 }}{{ end }}
    {{- with $values.lifecycle }}
    lifecycle:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
    {{- with $values.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    volumeMounts:
      - name: config
        mountPath: /etc/partner-bridge
        readOnly: true
      {{- range (include "partner-bridge.secrets" $root | fromJson).groups }}
      {{- if .files }}
      - name: {{ .name }}-files
        mountPath: /etc/partner-bridge-secrets/{{ .name }}
        readOnly: true
      {{- end }}
      {{- end }}
      {{- if $values.pauses.enabled }}
      - name: pauses
        mountPath: /etc/partner-bridge-pauses
        readOnly: true
      {{- end }}
      - name: tmp
        mountPath: /tmp
      {{- with $values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  {{- if .runs }}
  {{- with $values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "partner-bridge.fullname" $root | toYaml }}
  {{- range (include "partner-bridge.secrets" $root | fromJson).groups }}
  {{- if .files }}
  - name: {{ .name }}-files
    projected:
      # Each file by the name of its setting: several objects may have the same key.
      sources:
        {{- range .files }}
        - {{ hasKey . "configMap" | ternary "configMap" "secret" }}:
            name: {{ .configMap | default .secret | quote }}
            items:
              - key: {{ .key | quote }}
                path: {{ .setting }}
        {{- end }}
  {{- end }}
  {{- end }}
  {{- if $values.pauses.enabled }}
  - name: pauses
    configMap:
      name: {{ include "partner-bridge.fullname" (dict "root" $root "suffix" "pauses") }}
  {{- end }}
  - name: tmp
    emptyDir: {{ toJson $values.emptyDir }}
  {{- with $values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
