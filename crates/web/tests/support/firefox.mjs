/** Firefox of the operating system, headless, with its own fake camera (a colour that changes slowly) and microphone (1000 Hz). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';

const EXECUTABLE = '/usr/bin/firefox-esr';

const PREFERENCES = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  // Nothing else may use the network or the processor.
  'media.gmp-manager.url': '',
  'app.update.enabled': false,
  'toolkit.telemetry.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
};

/** Starts one browser process. */
export async function startFirefox() {
  const folder = mkdtempSync(join(tmpdir(), 'madang-firefox-'));
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: EXECUTABLE,
    headless: true,
    userDataDir: folder,
    extraPrefsFirefox: PREFERENCES,
    defaultViewport: { width: 1000, height: 700 },
  });
  return {
    /** @returns {Promise<import('puppeteer-core').Page>} a tab */
    newPage: () => browser.newPage(),
    async close() {
      await browser.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
