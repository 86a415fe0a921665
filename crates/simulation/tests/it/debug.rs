use madang_core::Source::{Camera,Screen};
use madang_simulation::Action::{Join,Publish};
use madang_simulation::Plan;
use crate::ms;
#[test]
fn debug_two() {
    if std::env::var("RUST_LOG").is_ok() { tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).without_time().init(); }
    Plan::new("two").at(0, "two", [Join("anna"), Join("ben")])
        .at(2_000, "ben shares his screen", [Publish("ben", Screen)])
.at(6_000, "x", []).run(&[1], |world| {
        for name in ["anna", "ben"] {
            let s = world.seat(name);
            println!("{name}: joined {:?} conn {:?} tracks {:?}\n audio {:?} ice {:?}", s.page.joined_at, s.browser.connected_at, s.page.tracks, s.page.audio, s.browser.ice);
            for (at, v) in &s.page.video_history { println!("  {at:?}: {:?}", v.iter().filter(|s| s.track.is_some()).map(|s| format!("{:?} {:?} {:?}", s.track.unwrap().0, s.why, s.layer.as_ref().map(|l| l.rid.map(|r| r.to_string())))).collect::<Vec<_>>()); }
            println!(" kf {:?} undeclared {} up {:?} down {:?}", s.browser.keyframes_asked, s.browser.undeclared.len(), s.up.stats(), s.down.stats());
            for (mid, d) in &s.browser.video { println!(" v {mid}: packets {} shown {} lost {} undec {}", d.packets(), d.shown().len(), d.lost(), d.frames_undecodable()); }
            for (mid, d) in &s.browser.audio { println!(" a {mid}: heard {}", d.heard().len()); }
        }
        println!("{:?} timeouts {}", world.shard_stats(), world.timeouts());
        println!("{}", world.frames("anna", "ben", Camera, ms(0)).len());
    });
}
