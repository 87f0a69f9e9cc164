/** The rules for tokens that their issuers gave a shape of their own; each says where it is written down. */
import { entropy } from "./checks.ts"
import type { Rule } from "./rules.ts"

const alnum = (least: number, most: number | "" = ""): RegExp => new RegExp(`[A-Za-z0-9]{${least},${most}}`)
const word = (least: number): RegExp => new RegExp(`[A-Za-z0-9_-]{${least},}`)
const hex = (least: number, most: number | "" = ""): RegExp => new RegExp(`[0-9A-Fa-f]{${least},${most}}`)

const hasDigit = (found: string): boolean => /\d/.test(found)

/** Tokens that their issuers gave a beginning of their own. */
export const issued: ReadonlyArray<Rule> = [
  {
    name: "aws-key",
    source: "docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids",
    starts: ["AKIA", "ASIA", "ABIA", "ACCA"],
    value: /[A-Z0-9]{16}(?![A-Za-z0-9])/
  },
  {
    name: "aws-secret-key",
    source: "docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html",
    needs: { run: 3 },
    // Forty characters that say nothing else. A hash in hexadecimal has no capitals, and a path repeats itself.
    value: /(?<![A-Za-z0-9+/=_.-])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=_.-])/,
    check: (found) => /[a-z]/.test(found) && /[A-Z]/.test(found) && /\d/.test(found) && entropy(found) >= 4.3
  },
  {
    name: "github-token",
    source:
      "docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
    starts: ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
    value: /[A-Za-z0-9_.-]{30,}/
  },
  {
    name: "github-token",
    source:
      "docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
    starts: ["github_pat_"],
    value: word(22)
  },
  {
    name: "gitlab-token",
    source: "docs.gitlab.com/security/tokens/#token-prefixes",
    starts: [
      ..."glpat- gloas- gldt- glrt- glrtr- glcbt- glptt- glft- glimt- glagent- glwt- glsoat- glffct-".split(
        " "
      ),
      "GR1348941"
    ],
    value: /[A-Za-z0-9_.-]{20,}/
  },
  {
    name: "slack-token",
    source: "api.slack.com/concepts/token-types",
    starts: [
      "xoxb-",
      "xoxp-",
      "xoxa-",
      "xoxr-",
      "xoxs-",
      "xoxc-",
      "xoxd-",
      "xoxe-",
      "xoxe.xoxp-",
      "xoxe.xoxb-",
      "xapp-",
      "xwfp-"
    ],
    value: /[A-Za-z0-9%-]{10,}/
  },
  {
    name: "webhook",
    source: "api.slack.com/messaging/webhooks",
    starts: ["hooks.slack.com/services/", "hooks.slack.com/workflows/", "hooks.slack.com/triggers/"],
    value: /[A-Za-z0-9/_-]{20,}/
  },
  {
    name: "webhook",
    source: "discord.com/developers/docs/resources/webhook",
    starts: ["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"],
    value: /\d{15,22}\/[A-Za-z0-9_-]{20,}/
  },
  {
    name: "stripe-key",
    source: "docs.stripe.com/keys",
    starts: ["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"],
    value: /[A-Za-z0-9+/]{10,}={0,2}/
  },
  {
    name: "openai-key",
    source: "platform.openai.com/docs/api-reference/authentication",
    starts: ["sk-", "sk-proj-", "sk-svcacct-", "sk-admin-", "sess-"],
    value: word(20),
    check: hasDigit
  },
  {
    name: "anthropic-key",
    source: "docs.anthropic.com/en/api/overview",
    starts: ["sk-ant-"],
    value: word(20)
  },
  {
    name: "google-key",
    source: "cloud.google.com/docs/authentication/api-keys",
    starts: ["AIza"],
    value: /[\w-]{35}/
  },
  {
    name: "google-oauth",
    source: "developers.google.com/identity/protocols/oauth2",
    starts: ["ya29.", "GOCSPX-", "1//0"],
    value: /[\w.-]{20,}/
  },
  { name: "npm-token", source: "docs.npmjs.com/about-access-tokens", starts: ["npm_"], value: alnum(36) },
  { name: "pypi-token", source: "pypi.org/help/#apitoken", starts: ["pypi-"], value: word(50) },
  {
    name: "rubygems-key",
    source: "guides.rubygems.org/api-key-scopes",
    starts: ["rubygems_"],
    value: hex(48)
  },
  {
    name: "sendgrid-key",
    source: "docs.sendgrid.com/ui/account-and-settings/api-keys",
    starts: ["SG."],
    value: /[\w-]{16,32}\.[\w-]{16,64}/
  },
  {
    name: "twilio-key",
    source: "twilio.com/docs/glossary/what-is-a-sid",
    starts: ["SK", "AC"],
    value: /[0-9a-f]{32}(?![A-Za-z0-9])/
  },
  {
    name: "mailgun-key",
    source: "documentation.mailgun.com/docs/mailgun/api-reference",
    starts: ["key-"],
    value: hex(32)
  },
  {
    name: "huggingface-token",
    source: "huggingface.co/docs/hub/security-tokens",
    starts: ["hf_", "api_org_"],
    value: alnum(30)
  },
  { name: "groq-key", source: "console.groq.com/docs/quickstart", starts: ["gsk_"], value: alnum(40) },
  { name: "xai-key", source: "docs.x.ai/docs/overview", starts: ["xai-"], value: alnum(40) },
  { name: "perplexity-key", source: "docs.perplexity.ai", starts: ["pplx-"], value: alnum(40) },
  {
    name: "replicate-token",
    source: "replicate.com/docs/topics/security/api-tokens",
    starts: ["r8_"],
    value: alnum(36)
  },
  {
    name: "digitalocean-token",
    source: "docs.digitalocean.com/reference/api/create-personal-access-token",
    starts: ["dop_v1_", "doo_v1_", "dor_v1_"],
    value: hex(60)
  },
  {
    name: "shopify-token",
    source: "shopify.dev/docs/apps/build/authentication-authorization/access-tokens",
    starts: ["shpat_", "shpca_", "shppa_", "shpss_"],
    value: hex(32)
  },
  {
    name: "databricks-token",
    source: "docs.databricks.com/dev-tools/auth/pat.html",
    starts: ["dapi"],
    value: hex(32)
  },
  {
    name: "vault-token",
    source: "developer.hashicorp.com/vault/docs/concepts/tokens",
    starts: ["hvs.", "hvb.", "hvr."],
    value: word(24)
  },
  {
    name: "docker-token",
    source: "docs.docker.com/security/access-tokens",
    starts: ["dckr_pat_", "dckr_oat_"],
    value: word(20)
  },
  {
    name: "grafana-token",
    source: "grafana.com/docs/grafana/latest/administration/service-accounts",
    starts: ["glsa_", "glc_"],
    value: /[\w+/]{30,}={0,2}/
  },
  {
    name: "sentry-token",
    source: "docs.sentry.io/account/auth-tokens",
    starts: ["sntrys_", "sntryu_"],
    value: /[\w+/]{40,}={0,2}/
  },
  {
    name: "linear-key",
    source: "linear.app/developers",
    starts: ["lin_api_", "lin_oauth_"],
    value: alnum(40)
  },
  {
    name: "notion-token",
    source: "developers.notion.com/docs/authorization",
    starts: ["ntn_", "secret_"],
    value: alnum(40)
  },
  {
    name: "postman-key",
    source: "learning.postman.com/docs/developer/postman-api/authentication",
    starts: ["PMAK-"],
    value: /[0-9a-f]{24}-[0-9a-f]{34}/
  },
  {
    name: "doppler-token",
    source: "docs.doppler.com/docs/service-tokens",
    starts: ["dp.pt.", "dp.st.", "dp.ct.", "dp.sa."],
    value: /[\w.-]{30,}/
  },
  {
    name: "pulumi-token",
    source: "pulumi.com/docs/administration/access-identity/access-tokens",
    starts: ["pul-"],
    value: hex(40)
  },
  {
    name: "atlassian-token",
    source: "id.atlassian.com/manage-profile/security/api-tokens",
    starts: ["ATATT3", "ATCTT3"],
    value: /[\w=-]{50,}/
  },
  {
    name: "figma-token",
    source: "developers.figma.com/docs/rest-api/authentication",
    starts: ["figd_", "figu_"],
    value: word(30)
  },
  {
    name: "supabase-key",
    source: "supabase.com/docs/guides/api/api-keys",
    starts: ["sbp_", "sb_secret_"],
    value: word(20)
  },
  {
    name: "planetscale-token",
    source: "planetscale.com/docs/concepts/service-tokens",
    starts: ["pscale_tkn_", "pscale_pw_", "pscale_oauth_"],
    value: /[\w.=-]{30,}/
  },
  {
    name: "age-key",
    source: "github.com/C2SP/C2SP/blob/main/age.md",
    starts: ["AGE-SECRET-KEY-1"],
    value: /[0-9A-Z]{58}/
  },
  {
    name: "azure-secret",
    needs: { run: 8 },
    source: "learn.microsoft.com/en-us/purview/sit-defn-azure-ad-client-secret",
    value: /(?<![\w~.-])[\w~.-]{3}\dQ~[\w~.-]{31,34}(?![\w~.-])/
  },
  {
    name: "telegram-token",
    needs: { digits: 8, run: 35 },
    source: "core.telegram.org/bots/api#authorizing-your-bot",
    value: /(?<![A-Za-z0-9])\d{8,10}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])/
  }
]
