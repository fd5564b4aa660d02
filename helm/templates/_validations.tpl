{{/*
Rules between values. Each finds what is wrong and says in one sentence which values, what would happen, and what to
set; all of them are reported at once. What one value alone may be is the schema's matter.
*/}}
{{- define "partner-bridge.problems" -}}
{{- $config := .Values.config -}}
{{- $kafka := dig "kafka" dict $config -}}
{{- $port := dig "http" "port" 8080 $config | int -}}
{{- $secretName := "(password|passphrase|secret|token|key[._]pem|private[._]key|oauthbearer[._]config|jaas)" -}}
{{- $namesFile := "[._](file|location|url|path|ms)$" -}}

{{- /* What has no safe default. */ -}}
{{- $event := "" -}}
{{- if not (dig "topics" dict $config) }}
config.topics is missing: name each Kafka topic to read, as `topics: {orders.v1: {event: {…}}}`.
config.topics.<topic>.event.source is missing: name the partner event source, as `aws.partner/example.com/acme`.
{{- end }}
{{- range $topic, $rules := dig "topics" dict $config }}
{{- $event = dig "event" dict ($rules | default dict) }}
{{- if not $event.source }}
config.topics.{{ $topic }}.event.source is missing: name the partner event source, as `aws.partner/example.com/acme`.
{{- else if not (regexMatch "^(aws\\.partner/|\\$\\{)" $event.source) }}
config.topics.{{ $topic }}.event.source is `{{ $event.source }}`, which is no partner event source, so EventBridge would refuse every event: begin it with `aws.partner/`.
{{- end }}
{{- if not $event.detail_type }}
config.topics.{{ $topic }}.event.detail_type is missing: say what kind of event it is, as `Order created`.
{{- end }}
{{- end }}
{{- if not (include "partner-bridge.given" (dict "root" $ "section" "dead_letter" "setting" "topic")) }}
config.dead_letter.topic is missing: name the Kafka topic for records that can never succeed, as `orders-bridge.dlt`.
{{- end }}
{{- range $key, $example := dict "bootstrap.servers" "kafka:9092" "group.id" "orders-bridge" }}
{{- if not (include "partner-bridge.given" (dict "root" $ "section" "kafka" "setting" $key)) }}
config.kafka."{{ $key }}" is missing: set it, as `{{ $example }}`.
{{- end }}
{{- end }}
{{- if not (include "partner-bridge.given" (dict "root" $ "section" "eventbridge" "setting" "region")) }}
config.eventbridge.region is missing: name the AWS Region of the partner event sources, as `eu-central-1`.
{{- end }}

{{- /* Metadata. */ -}}
{{- $labels := include "partner-bridge.ownLabels" (dict "root" . "component" "bridge") | fromYaml | keys }}
{{- $annotations := list "checksum/config" "partner-bridge/restart-token" }}
{{- $sections := pick .Values "replay" "report" "tests" "podMonitor" "prometheusRule" "dashboard" }}
{{- range $section, $values := set $sections "" .Values }}
{{- range $value, $reserved := dict "commonLabels" $labels "labels" $labels "podLabels" $labels "podAnnotations" $annotations }}
{{- range $key := $reserved }}
{{- if hasKey (index $values $value | default dict) $key }}
{{ printf "%s.%s" $section $value | trimPrefix "." }} has the key {{ $key }}, which the chart sets itself: take it out.
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The image. */ -}}
{{- with .Values.global.imageRegistry }}
{{- if include "partner-bridge.repositoryHasRegistry" $ }}
image.repository is `{{ $.Values.image.repository }}`, which names a registry, and global.imageRegistry is `{{ . }}`, so the image would be looked for at `{{ . }}/{{ $.Values.image.repository }}`: take the registry out of image.repository.
{{- end }}
{{- end }}

{{- /* Secrets. */ -}}
{{- range $key, $value := $kafka }}
{{- if and (regexMatch $secretName $key) (not (regexMatch $namesFile $key)) (not (empty $value)) }}
config.kafka."{{ $key }}" is written out and would be readable in a ConfigMap: put it into a Secret, and set secrets.kafka.existingSecret and secrets.kafka.settings."{{ $key }}" to the key in it.
{{- end }}
{{- end }}
{{- if dig "schema_registry" "basic_auth" "password" "" $config }}
config.schema_registry.basic_auth.password is written out and would be readable in a ConfigMap: put it into a Secret, and set secrets.schemaRegistry.existingSecret and secrets.schemaRegistry.settings."basic_auth.password" to the key in it.
{{- end }}
{{- if dig "http" "token" "" $config }}
config.http.token is written out and would be readable in a ConfigMap: put it into a Secret, and set secrets.http.existingSecret and secrets.http.settings.token to the key in it.
{{- end }}
{{- if dig "schema_registry" "bearer_token" "" $config }}
config.schema_registry.bearer_token is written out and would be readable in a ConfigMap: put it into a Secret, and set secrets.schemaRegistry.existingSecret and secrets.schemaRegistry.settings.bearer_token to the key in it.
{{- end }}
{{- range $name, $registry := dig "schema_registries" dict $config }}
{{- if or (dig "basic_auth" "password" "" $registry) (dig "bearer_token" "" $registry) }}
config.schema_registries.{{ $name }} has a password or token written out, which would be readable in a ConfigMap: put it into a Secret, and name it in extraEnv with valueFrom.secretKeyRef, as BRIDGE_SCHEMA_REGISTRIES__{{ $name | upper }}__BEARER_TOKEN.
{{- end }}
{{- end }}
{{- range .Values.extraEnv }}
{{- $variable := .name | default "" }}
{{- /* The one setting that has the name of a secret and the path of a file. */ -}}
{{- $isPath := and (regexMatch "^BRIDGE_SCHEMA_REGISTR(Y|IES__.+)__PRIVATE_KEY$" $variable) (hasPrefix "/" (toString .value)) }}
{{- if and .value (not $isPath) (regexMatch "^(BRIDGE|AWS)_" $variable) (regexMatch $secretName (lower $variable)) (not (regexMatch $namesFile (lower $variable))) }}
extraEnv {{ $variable }} is written out and would be readable in the Deployment: use valueFrom.secretKeyRef.
{{- end }}
{{- end }}
{{- $names := list }}
{{- range .Values.extraEnv }}
{{- if has .name $names }}
extraEnv has {{ .name }} twice, which a server-side apply refuses: keep one.
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- range $setting, $_ := .Values.secrets.kafka.files }}
{{- if hasKey $.Values.secrets.kafka.settings $setting }}
secrets.kafka has "{{ $setting }}" under settings and under files: keep that of files, where the key holds the file itself.
{{- end }}
{{- end }}
{{- range $group, $secret := omit .Values.secrets "restartToken" }}
{{- $keys := 0 }}
{{- range $taken := list $secret.settings $secret.files }}
{{- range $taken }}{{ if kindIs "string" . }}{{ $keys = add1 $keys }}{{ end }}{{ end }}
{{- end }}
{{- if and $keys (not $secret.existingSecret) }}
secrets.{{ $group }} takes settings from keys, but secrets.{{ $group }}.existingSecret is empty, so there is no Secret to take them from: name it.
{{- else if and $secret.existingSecret (not $keys) }}
secrets.{{ $group }}.existingSecret is `{{ $secret.existingSecret }}`, but nothing is taken from it: say in secrets.{{ $group }}.settings or .files which key is which setting.
{{- end }}
{{- end }}

{{- /* Pauses. */ -}}
{{- if and .Values.pauses.enabled $config.pauses }}
config.pauses is `{{ $config.pauses }}` and pauses.enabled is true, so the bridge would follow the chart's file instead: keep one of the two.
{{- end }}
{{- if and .Values.pauses.rules (not .Values.pauses.enabled) }}
pauses.rules says what to pause, but pauses.enabled is false, so nothing would be paused: set it to true.
{{- end }}

{{- /* AWS identity. */ -}}
{{- if and .Values.auth.irsa.roleArn .Values.auth.podIdentity.enabled }}
auth.irsa.roleArn is `{{ .Values.auth.irsa.roleArn }}` and auth.podIdentity.enabled is true; AWS's SDK would silently take the web identity: keep one of the two.
{{- end }}
{{- if and .Values.auth.irsa.roleArn (hasKey .Values.serviceAccount.annotations "eks.amazonaws.com/role-arn") }}
auth.irsa.roleArn is `{{ .Values.auth.irsa.roleArn }}` and serviceAccount.annotations has eks.amazonaws.com/role-arn as well: keep one of the two.
{{- end }}
{{- if and .Values.auth.irsa.roleArn (not .Values.serviceAccount.create) }}
auth.irsa.roleArn is `{{ .Values.auth.irsa.roleArn }}`, but serviceAccount.create is false, so nobody would annotate the ServiceAccount with it: annotate it yourself and empty auth.irsa.roleArn, or create it here.
{{- end }}

{{- /* The life of a pod. */ -}}
{{- $timeout := dig "delivery" "shutdown_timeout" "25s" $config | toString }}
{{- if and (regexMatch "^[0-9]+(\\.[0-9]+)?(ms|s|m|h)$" $timeout) (le (float64 .Values.terminationGracePeriodSeconds) (include "partner-bridge.seconds" $timeout | float64)) }}
terminationGracePeriodSeconds is {{ .Values.terminationGracePeriodSeconds }} and config.delivery.shutdown_timeout is {{ $timeout }}, so Kubernetes would kill the bridge while it drains and its last events would be delivered twice: set terminationGracePeriodSeconds to more, with 10 seconds to spare.
{{- end }}
{{- if eq $port 0 }}
config.http.port is 0, a port nobody knows beforehand, so every probe would fail: set a port, or leave it out for 8080.
{{- end }}
{{- with dig "http" dict $config }}
{{- if and (kindIs "bool" .page) (ne .page $.Values.page.enabled) }}
config.http.page is {{ .page }} and page.enabled is {{ $.Values.page.enabled }}: leave config.http.page out, page.enabled says it.
{{- end }}
{{- end }}
{{- if regexMatch "^(127\\.|localhost$|::1$)" (dig "http" "host" "::" $config) }}
config.http.host is `{{ $config.http.host }}`, which probes and Prometheus cannot reach: leave it out.
{{- end }}
{{- if index $kafka "group.instance.id" }}
config.kafka."group.instance.id" is `{{ index $kafka "group.instance.id" }}` for every pod, so each pod would fence the one before it and halt: leave it out, or give each pod its own through extraEnv BRIDGE_KAFKA__GROUP_INSTANCE_ID with valueFrom.fieldRef metadata.name.
{{- end }}
{{- with .Values.podDisruptionBudget }}
{{- if and .enabled (not (kindIs "invalid" .minAvailable)) (not (kindIs "invalid" .maxUnavailable)) }}
podDisruptionBudget.minAvailable is {{ .minAvailable }} and podDisruptionBudget.maxUnavailable is {{ .maxUnavailable }}, and Kubernetes takes only one of them: set one to null.
{{- end }}
{{- end }}
{{- with .Values.strategy }}
{{- $rolling := .rollingUpdate | default dict }}
{{- if and (ne (toString .type) "Recreate") (has (toString $rolling.maxSurge) (list "0" "0%")) (has (toString $rolling.maxUnavailable) (list "0" "0%")) }}
strategy.rollingUpdate.maxSurge is {{ $rolling.maxSurge }} and strategy.rollingUpdate.maxUnavailable is {{ $rolling.maxUnavailable }}, so no pod could come before one goes and none go before one comes, and Kubernetes refuses that: set maxUnavailable to 1, or strategy.type to Recreate.
{{- end }}
{{- end }}

{{- /* Scaling. */ -}}
{{- if .Values.keda.enabled }}
{{- $most := .Values.keda.maxReplicaCount | default .Values.partitions }}
{{- if not (kindIs "invalid" .Values.replicaCount) }}
replicaCount is {{ .Values.replicaCount }} and keda.enabled is true; each upgrade would set the pods back to {{ .Values.replicaCount }} and KEDA would undo it, a rebalance each time: leave replicaCount out.
{{- end }}
{{- if not .Values.partitions }}
keda.enabled is true and partitions is not set, so KEDA could start pods that get no partition: set partitions to the partitions of all topics together.
{{- else if gt (int $most) (int .Values.partitions) }}
keda.maxReplicaCount is {{ $most }} and partitions is {{ .Values.partitions }}, so {{ sub (int $most) (int .Values.partitions) }} pods would idle: set keda.maxReplicaCount to at most {{ .Values.partitions }}.
{{- end }}
{{- if and $most (gt (int .Values.keda.minReplicaCount) (int $most)) }}
keda.minReplicaCount is {{ .Values.keda.minReplicaCount }} and keda.maxReplicaCount is {{ $most }}: set the minimum to at most the maximum.
{{- end }}
{{- range $key := list "bootstrap.servers" "group.id" }}
{{- if not (index $kafka $key) }}
keda.enabled is true and config.kafka."{{ $key }}" is not set, and KEDA's triggers are written from config: set it there, too.
{{- end }}
{{- end }}
{{- if not .Values.keda.topics }}
{{- range $topic, $_ := dig "topics" dict $config }}
{{- if hasPrefix "^" $topic }}
config.topics has the pattern `{{ $topic }}`, and KEDA's triggers need names: list the topics to scale by in keda.topics.
{{- end }}
{{- end }}
{{- end }}
{{- include "partner-bridge.kedaProblems" . }}
{{- end }}

{{- /* The network. */ -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.kafka.ports) (not (index $kafka "bootstrap.servers")) }}
networkPolicy.enabled is true and config.kafka."bootstrap.servers" is not set, so the NetworkPolicy would not know the ports of the brokers and keep the bridge from them: set networkPolicy.kafka.ports.
{{- end }}

{{- /* Monitoring. */ -}}
{{- range .Values.extraEnv }}
{{- if and $.Values.podMonitor.enabled (eq (.name | default "") "BRIDGE_HTTP__TOKEN") }}
podMonitor.enabled is true and extraEnv has BRIDGE_HTTP__TOKEN, which the PodMonitor does not know, so the bridge would refuse every scrape: take it out, and set secrets.http.existingSecret and secrets.http.settings.token to the key in it.
{{- end }}
{{- end }}
{{- if and .Values.podMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.monitoringNamespace) (not .Values.networkPolicy.extraIngress) }}
podMonitor.enabled is true and networkPolicy.monitoringNamespace is empty, so the NetworkPolicy would refuse every scrape: set networkPolicy.monitoringNamespace to the namespace of Prometheus.
{{- end }}
{{- end -}}

{{/*
Not empty if a setting without a default is given: in `config`, from a Secret or by name in `extraEnv`; or perhaps by
`envFrom`, whose names the chart cannot see. Arguments: a dict of `root`, `section` and `setting`.
*/}}
{{- define "partner-bridge.given" -}}
{{- $variable := include "partner-bridge.variable" . -}}
{{- $secrets := dict "kafka" .root.Values.secrets.kafka "eventbridge" .root.Values.secrets.eventbridge -}}
{{- if or (index .root.Values.config .section .setting) (dig .section "settings" .setting "" $secrets) .root.Values.envFrom -}}
given
{{- else -}}
{{- range .root.Values.extraEnv }}{{ if eq .name $variable }}given{{ end }}{{ end -}}
{{- end -}}
{{- end -}}
